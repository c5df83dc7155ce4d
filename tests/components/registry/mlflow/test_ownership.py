"""Two workspaces with one MLflow: each may change its own versions only, until it takes a tenant over."""

from collections.abc import Callable
from pathlib import Path

import pytest
from registered_versions import add_version, open_mlflow

from components.config import RegistryConfig
from components.errors import OwnershipError
from components.registry.manifest import Manifest
from components.registry.mlflow.versions import Version
from components.registry.registry import CHAMPION, Registry

Save = Callable[..., Manifest]


@pytest.fixture
def other(registry: Registry, tmp_path: Path) -> Registry:
    """Another workspace with the same MLflow."""
    return Registry(RegistryConfig(tracking_uri=registry.uri), tmp_path / "other")


def test_a_version_belongs_to_the_workspace_that_registered_it(
    registry: Registry, other: Registry, save: Save, tmp_path: Path
) -> None:
    version = add_version(registry, save, tmp_path)
    assert version.owner == registry.ownership.owner == registry.ownership.identity.id
    assert f"in {tmp_path} at 20" in version.tags["registered_by"]
    registry.set_alias("acme", CHAMPION, "1")
    for seen in (*registry.find_versions("acme"), registry.poll_aliased(CHAMPION)[CHAMPION]["acme"]):
        assert not registry.is_foreign(seen)
        assert other.is_foreign(seen)
        with pytest.raises(
            OwnershipError, match=rf"test acme.*{version.owner} \(registered by .*{tmp_path}.*adopt acme"
        ):
            other.ownership.check_version(seen, "test acme")
    run = open_mlflow(registry).get_run(version.run_id)
    assert run.data.tags["owner"] == version.owner
    with pytest.raises(OwnershipError):
        other.ownership.find_own_aliased("acme", "test acme")
    assert [one.version for one in registry.ownership.find_own_aliased("acme", "test acme")] == ["1"]


def test_the_same_artifact_of_another_workspace_is_not_taken_over(
    registry: Registry, other: Registry, save: Save, tmp_path: Path
) -> None:
    version = add_version(registry, save, tmp_path)
    with pytest.raises(OwnershipError, match="register acme"):
        add_version(other, save, tmp_path / "other")
    assert registry.find_versions("acme") == [version]


def test_adoption_makes_all_versions_this_workspace_s(
    registry: Registry, other: Registry, save: Save, tmp_path: Path
) -> None:
    version = add_version(registry, save, tmp_path)
    assert other.ownership.adopt("acme") == [version]
    (adopted,) = other.find_versions("acme")
    assert adopted.owner == other.ownership.owner
    assert registry.is_foreign(adopted)
    assert other.ownership.adopt("acme") == []


def test_checkouts_of_one_fleet_share_a_name(registry: Registry, save: Save, tmp_path: Path) -> None:
    clones = [
        Registry(RegistryConfig(tracking_uri=registry.uri, owner="shop"), tmp_path / name) for name in ("one", "two")
    ]
    version = add_version(clones[0], save, tmp_path)
    assert version.owner == "shop"
    assert not clones[1].is_foreign(version)
    assert registry.is_foreign(version)


def test_a_version_without_an_owner_belongs_to_whoever_registers_it_again(
    registry: Registry, other: Registry, save: Save, tmp_path: Path
) -> None:
    version = add_version(registry, save, tmp_path)
    open_mlflow(registry).delete_model_version_tag("prefix-acme", version.version, "owner")
    (seen,) = other.find_versions("acme")
    assert not registry.is_foreign(seen)
    assert not other.is_foreign(seen)
    assert add_version(other, save, tmp_path / "other").owner == other.ownership.owner


def test_the_fault_of_a_renamed_model_is_read_with_its_alias(registry: Registry, save: Save, tmp_path: Path) -> None:
    add_version(registry, save, tmp_path)
    registry.set_alias("acme", CHAMPION, "1")
    open_mlflow(registry).rename_registered_model("prefix-acme", "prefix-birch")
    for champions in (registry.poll_aliased(CHAMPION)[CHAMPION], registry.find_aliased(CHAMPION)):
        assert list(champions) == ["birch"]
        assert "registered for acme, and its model was renamed to prefix-birch" in champions["birch"].fault


def test_faults_are_named() -> None:
    assert Version("acme", "1", sha256="a", tags={"tenant": "acme"}).fault == ""
    assert "no tag sha256" in Version("acme", "1").fault
    for sha256 in ("../../data", "a/b", ".", "A" * 64, "0" * 65, "a\n"):
        assert "no digest" in Version("acme", "1", sha256=sha256).fault
    assert "registered for birch" in Version("acme", "1", sha256="a", tags={"tenant": "birch"}).fault
