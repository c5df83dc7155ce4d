import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registered_versions import add_version, open_mlflow

from components.errors import ArtifactError, RegistryError
from components.registry.artifact import load_artifact
from components.registry.manifest import Manifest
from components.registry.registry import Registration, Registry, RunLog

Save = Callable[..., Manifest]
Make = Callable[..., Any]


def test_a_version_has_the_prefix_and_its_tags(registry: Registry, save: Save, tmp_path: Path) -> None:
    manifest = save(tmp_path / "acme")
    version = registry.register(
        "acme", tmp_path / "acme", "base", {"verdict": "accepted"}, RunLog(metrics={"bleu": 61})
    )
    assert (version.tenant, version.version, version.aliases) == ("acme", "1", ())
    assert version.fingerprint == manifest.fingerprint
    assert version.dataset_version == manifest.dataset_version
    assert version.sha256 == manifest.sha256
    assert version.tags["verdict"] == "accepted"
    assert version.tags["metric.bleu"] == "61"
    assert registry.find_versions("acme") == [version]
    fetched = registry.fetch(version, tmp_path / "fetched")
    assert load_artifact(fetched, None)[1] == manifest
    folder = tmp_path / "var" / "mlflow" / "artifacts" / "prefixfleet" / version.run_id / "artifacts" / "model"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < (tmp_path / "acme" / "prefix.safetensors").stat().st_size + 12_000


def test_an_alias_moved_in_mlflow_is_followed(
    registry: Registry, save: Save, tmp_path: Path, make_prefix: Make
) -> None:
    add_version(registry, save, tmp_path)
    registry.set_alias("acme", "champion", "1")
    second = add_version(registry, save, tmp_path, prefix=make_prefix(seed=1))
    assert second.version == "2"
    assert registry.find_champions()["acme"].version == "1"
    open_mlflow(registry).set_registered_model_alias("prefix-acme", "champion", "2")  # by hand, in MLflow's page
    champion = registry.find_champion("acme")
    assert champion is not None
    assert champion == registry.find_champions()["acme"]
    assert (champion.version, champion.aliases, champion.sha256) == ("2", ("champion",), second.sha256)
    open_mlflow(registry).delete_registered_model_alias("prefix-acme", "champion")
    assert registry.find_champion("acme") is None
    assert registry.find_champions() == {}
    assert [version.version for version in registry.find_versions("acme")] == ["2", "1"]


def test_a_tenant_can_have_a_champion_and_a_challenger(
    registry: Registry, save: Save, tmp_path: Path, make_prefix: Make
) -> None:
    first = add_version(registry, save, tmp_path)
    second = add_version(registry, save, tmp_path, prefix=make_prefix(seed=1))
    registry.set_alias("acme", "champion", first.version)
    registry.set_alias("acme", "challenger", second.version)
    assert registry.find_challenger("acme") == registry.find_aliased("challenger")["acme"]
    assert {version.version: version.aliases for version in registry.find_versions("acme")} == {
        "1": ("champion",),
        "2": ("challenger",),
    }
    registry.set_alias("acme", "champion", second.version)
    registry.delete_alias("acme", "challenger")
    registry.delete_alias("acme", "challenger")
    champion = registry.find_champion("acme")
    assert champion is not None
    assert champion.aliases == ("champion",)


def test_one_tenant_s_error_does_not_stop_the_registration_of_a_fleet(
    registry: Registry, save: Save, tmp_path: Path
) -> None:
    for tenant in ("a", "b", "c"):
        save(tmp_path / tenant, tenant=tenant)
    (tmp_path / "b" / "prefix.safetensors").write_bytes(b"cut")
    jobs = [
        Registration(tenant=tenant, artifact=tmp_path / tenant, base_path="base", alias="champion")
        for tenant in ("a", "b", "c")
    ]
    results = registry.register_all(jobs)
    assert isinstance(results["b"], ArtifactError)
    assert sorted(registry.find_champions()) == ["a", "c"]


def test_an_artifact_changed_in_the_store_is_refused(
    registry: Registry, save: Save, tmp_path: Path, make_prefix: Make
) -> None:
    version = add_version(registry, save, tmp_path)
    stored = next((tmp_path / "var").rglob("prefix.safetensors")).parent
    save(tmp_path / "forged", make_prefix(seed=9))
    shutil.copytree(tmp_path / "forged", stored, dirs_exist_ok=True)
    with pytest.raises(ArtifactError, match=version.sha256):
        registry.fetch(version, tmp_path / "fetched")
    assert not (tmp_path / "fetched" / "manifest.json").exists()


def test_fetching_into_a_folder_with_the_files_needs_no_mlflow(registry: Registry, save: Save, tmp_path: Path) -> None:
    version = add_version(registry, save, tmp_path)
    shutil.rmtree(tmp_path / "var")
    assert registry.fetch(version, tmp_path / "acme") == tmp_path / "acme"


def test_an_unknown_version_gets_no_alias(registry: Registry, save: Save, tmp_path: Path) -> None:
    add_version(registry, save, tmp_path)
    with pytest.raises(RegistryError, match="the alias champion on version 7 of acme"):
        registry.set_alias("acme", "champion", "7")
    with pytest.raises(RegistryError, match="nobody"):
        registry.set_alias("nobody", "champion", "1")
