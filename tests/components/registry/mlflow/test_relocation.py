"""A workspace with its own MLflow database is moved or copied: locations follow, and the original stays as it is."""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from registered_versions import add_version, open_mlflow

from components.config import BaseConfig, RegistryConfig
from components.errors import OwnershipError, RegistryError
from components.model.base.load import load_base
from components.registry.manifest import Manifest
from components.registry.mlflow import relocation
from components.registry.registry import CHAMPION, Registry, RunLog
from components.storage.urls import to_local_path

Save = Callable[..., Manifest]
Fill = Callable[..., Registry]


@pytest.fixture
def fill(empty_mlflow: Path, save: Save, tmp_path: Path) -> Fill:
    """A function that makes a workspace with one champion and one rejected run of acme, and the base in it."""

    def make(root: Path, store: str = "var/mlflow", tenant: str = "acme") -> Registry:
        (root / store).mkdir(parents=True)
        (root / "base").mkdir()
        shutil.copyfile(empty_mlflow, root / store / "mlflow.db")
        registry = Registry(RegistryConfig(tracking_uri=f"sqlite:///{store}/mlflow.db"), root)
        add_version(registry, save, tmp_path / "made", tenant)
        registry.set_alias(tenant, CHAMPION, "1")
        report = tmp_path / "report.json"
        report.write_text(f'{{"tenant": "{tenant}"}}')
        registry.log_run(tenant, RunLog(files=[report]))
        return registry

    return make


def reopen(root: Path, store: str = "var/mlflow") -> Registry:
    return Registry(RegistryConfig(tracking_uri=f"sqlite:///{store}/mlflow.db"), root)


def hash_files(root: Path) -> dict[str, str]:
    """The content of every file but SQLite's shared memory, which readers change."""
    paths = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".db-shm"]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def list_locations(database: Path) -> set[str]:
    columns = ("experiments.artifact_location", "runs.artifact_uri", "model_versions.source")
    with closing(sqlite3.connect(database)) as connection:
        names = [column.split(".") for column in columns]
        return {
            str(uri)
            for table, column in names
            for (uri,) in connection.execute(f"SELECT {column} FROM {table}")
            if "prefixfleet" in uri
        }


@pytest.mark.parametrize(
    ("name", "store"), [("plain", "."), ("a b%20c ü", "var/mlflow"), ("ä #&+=", "store"), ("ä #&+=", "var/mlflow")]
)
def test_a_moved_workspace_reads_and_writes_at_its_new_place(
    fill: Fill, save: Save, tmp_path: Path, make_prefix: Any, name: str, store: str
) -> None:
    fill(tmp_path / "old" / "ws", store)
    (tmp_path / "old" / "ws").rename(tmp_path / name)
    moved = reopen(tmp_path / name, store)
    version = moved.find_versions("acme")[0]
    assert not moved.is_foreign(version)
    assert moved.fetch(version, tmp_path / "fetched").is_dir()
    add_version(moved, save, tmp_path / "made", prefix=make_prefix(seed=5))
    assert not (tmp_path / "old" / "ws").exists()
    locations = list_locations(tmp_path / name / store / "mlflow.db")
    assert len(locations) == 6
    assert all(Path(str(to_local_path(uri))).is_relative_to(tmp_path / name) for uri in locations)
    model = open_mlflow(moved).get_model_version("prefix-acme", "1").source
    described = yaml.safe_load((Path(str(to_local_path(str(model)))) / "MLmodel").read_text())
    assert described["flavors"]["python_function"]["config"]["path"] == str(tmp_path / name / "base")


@pytest.mark.parametrize(("before", "after"), [("ws", "ws/inner"), ("ws/inner", "ws")])
def test_a_workspace_is_moved_into_or_out_of_its_own_folder(
    fill: Fill, tmp_path: Path, before: str, after: str
) -> None:
    fill(tmp_path / before)
    aside = (tmp_path / before).rename(tmp_path / "aside")
    shutil.rmtree(tmp_path / "ws", ignore_errors=True)
    (tmp_path / after).parent.mkdir(exist_ok=True)
    aside.rename(tmp_path / after)
    expected = f"{tmp_path}/{after}/var/mlflow/artifacts/prefixfleet"
    for _ in range(2):
        reopen(tmp_path / after).find_champions()
        locations = list_locations(tmp_path / after / "var/mlflow/mlflow.db")
        assert {str(to_local_path(uri))[: len(expected)] for uri in locations} == {expected}
        assert len(locations) == 4
        with closing(sqlite3.connect(tmp_path / after / "var/mlflow/mlflow.db")) as connection:
            other = ("other", (tmp_path / before).as_uri() + "/var/mlflow/artifacts/other")
            connection.execute("INSERT OR IGNORE INTO experiments (name, artifact_location) VALUES (?, ?)", other)
            connection.commit()


def test_the_champion_of_a_moved_workspace_is_loaded_by_mlflow_with_the_moved_base(
    empty_mlflow: Path, base_folder: Path, save_for: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "a folder" / ("old" + 80 * "d") / "old ws"  # YAML breaks long lines at spaces
    (root / "var/mlflow").mkdir(parents=True)
    shutil.copyfile(empty_mlflow, root / "var/mlflow/mlflow.db")
    shutil.copytree(base_folder, root / "base")
    save_for(tmp_path / "made", load_base(BaseConfig(path=str(root / "base")), device="cpu"))
    reopen(root).register("acme", tmp_path / "made", "base", {}, RunLog(), decoding={"max_new_tokens": 4})
    reopen(root).set_alias("acme", CHAMPION, "1")
    root.rename(tmp_path / "new ws")
    moved = reopen(tmp_path / "new ws")
    assert list(moved.poll_aliased(CHAMPION)[CHAMPION]) == ["acme"]  # as any command reads it
    monkeypatch.setenv("MLFLOW_TRACKING_URI", moved.uri)
    assert len(mlflow.pyfunc.load_model("models:/prefix-acme@champion").predict(["a", "b"])) == 2
    assert not root.exists()


def test_what_is_forgotten_in_a_copy_stays_in_the_original(fill: Fill, tmp_path: Path) -> None:
    fill(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    before = hash_files(tmp_path / "one")
    copy = reopen(tmp_path / "two")
    assert copy.find_remaining("acme") != []
    copy.remove("acme")
    assert copy.find_remaining("acme") == []
    assert list((tmp_path / "two" / "var").rglob("manifest.json")) == []
    assert hash_files(tmp_path / "one") == before


def test_a_copy_owns_its_versions_under_an_id_of_its_own(fill: Fill, save: Save, tmp_path: Path) -> None:
    original = fill(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    copy = reopen(tmp_path / "two")
    (version,) = copy.find_versions("acme")
    assert version.owner == copy.ownership.owner != original.ownership.owner
    shared = Registry(RegistryConfig(tracking_uri=original.uri), tmp_path / "two")
    with pytest.raises(OwnershipError, match="adopt acme"):
        shared.remove("acme")
    with pytest.raises(OwnershipError, match="register acme"):
        add_version(shared, save, tmp_path / "made")


def test_a_workspace_under_two_paths_stays_as_it_is(fill: Fill, tmp_path: Path) -> None:
    fill(tmp_path / "one")
    before = list_locations(tmp_path / "one/var/mlflow/mlflow.db")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    reopen(tmp_path / "link").find_versions("acme")
    (tmp_path / "one" / "var").rename(tmp_path / "disk")
    (tmp_path / "one" / "var").symlink_to(tmp_path / "disk")
    registry = reopen(tmp_path / "one")
    registry.fetch(registry.find_versions("acme")[0], tmp_path / "fetched")
    assert list_locations(tmp_path / "disk/mlflow/mlflow.db") == before


def test_a_store_outside_of_the_workspace_is_never_rewritten(fill: Fill, tmp_path: Path) -> None:
    store = fill(tmp_path / "one")
    before = hash_files(tmp_path / "one")
    (tmp_path / "other").mkdir()
    other = Registry(RegistryConfig(tracking_uri=store.uri), tmp_path / "other")
    other.fetch(other.find_versions("acme")[0], tmp_path / "fetched")
    assert hash_files(tmp_path / "one") == before


def test_files_that_a_copy_shares_with_its_original_are_not_deleted(fill: Fill, tmp_path: Path) -> None:
    fill(tmp_path / "one")
    (tmp_path / "one/var/mlflow/artifacts").rename(tmp_path / "disk")
    (tmp_path / "one/var/mlflow/artifacts").symlink_to(tmp_path / "disk")
    shutil.copytree(tmp_path / "one", tmp_path / "two", symlinks=True)
    before = hash_files(tmp_path / "disk")
    copy = reopen(tmp_path / "two")
    with pytest.raises(OwnershipError, match="adopt acme"):
        copy.remove("acme")
    assert hash_files(tmp_path / "disk") == before
    reopen(tmp_path / "one").remove("acme")
    assert list((tmp_path / "disk").rglob("manifest.json")) == []


def test_a_run_that_names_files_elsewhere_is_not_removed(fill: Fill, tmp_path: Path) -> None:
    registry = fill(tmp_path / "one")
    victim = tmp_path / "victim"
    victim.mkdir()
    with closing(sqlite3.connect(tmp_path / "one/var/mlflow/mlflow.db")) as connection:
        connection.execute("UPDATE runs SET artifact_uri = ?", (f"{tmp_path}/one/var/../../victim",))
        connection.commit()
    with pytest.raises(RegistryError, match="victim"):
        registry.remove("acme")
    assert victim.is_dir()
    assert [one.version for one in registry.find_versions("acme")] == ["1"]


def test_a_store_outside_of_the_workspace_that_is_gone_is_not_made_again(
    fill: Fill, save: Save, tmp_path: Path, make_prefix: Any
) -> None:
    fill(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    config = RegistryConfig(tracking_uri=f"sqlite:///{tmp_path}/two/var/mlflow/mlflow.db")
    other = Registry(config, tmp_path / "three")
    with pytest.raises(RegistryError, match=r"one/var/mlflow.*no such folder"):
        add_version(other, save, tmp_path / "made", "birch")
    with pytest.raises(RegistryError, match=r"one/var/mlflow.*no such folder"):
        other.log_run("birch", RunLog())
    assert not (tmp_path / "one").exists()
    reopen(tmp_path / "two").find_champions()
    assert add_version(Registry(config, tmp_path / "three"), save, tmp_path / "made", "birch").version == "1"


def test_orphaned_files_of_a_tenant_are_found_on_the_disk(fill: Fill, tmp_path: Path) -> None:
    registry = fill(tmp_path / "one")
    kept = fill(tmp_path / "three", tenant="birch")
    orphan = tmp_path / "one/var/mlflow/artifacts/prefixfleet" / ("0" * 32) / "artifacts"
    orphan.mkdir(parents=True)
    (orphan / "verdict.json").write_text('{"tenant": "acme"}')
    registry.remove("acme")
    assert (registry.find_remaining("acme"), orphan.exists()) == ([], False)
    assert kept.find_remaining("acme") == []
    assert len(kept.find_remaining("birch")) > 3


def test_a_database_that_cannot_be_rewritten_is_read_all_the_same(
    fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    before = list_locations(tmp_path / "two/var/mlflow/mlflow.db")
    monkeypatch.setattr(relocation, "_is_writable", lambda *_: False)  # tests may run as root, who may write everywhere
    registry = reopen(tmp_path / "two")
    assert registry.fetch(registry.find_versions("acme")[0], tmp_path / "fetched").is_dir()
    assert "read-only" in caplog.text
    assert list_locations(tmp_path / "two/var/mlflow/mlflow.db") == before
