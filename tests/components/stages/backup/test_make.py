"""A backup of a fleet: what is in it, what it waits for, what it refuses, and that the next one copies only changes."""

import json
import multiprocessing
import shutil
import sqlite3

import pytest
from workspaces import set_params

from components.errors import BackupError, LockHeldError, RegistryError, WorkspaceError
from components.registry.mlflow.relocation import relocate
from components.rollout.store.ledger import append_entries
from components.rollout.types import LedgerEntry
from components.stages.backup.make import make_backup
from components.stages.workspace import Workspace
from components.storage.backups.store import open_backups


@pytest.fixture
def fleet(trained_fleet, tmp_path):
    """A fleet of its own for each test."""
    root = tmp_path / "workspace"
    shutil.copytree(trained_fleet / "workspace", root)
    return root


def test_everything_of_a_fleet_is_in_it_and_the_next_backup_copies_only_what_is_new(fleet, target):
    made = make_backup(Workspace(fleet), target).manifest
    assert made.parts.keys() == {"artifacts", "databases", "workspace"}
    assert made.parts["databases"].files == 2
    assert made.facts["versions"] == 1
    assert made.facts["incomplete"] == []
    store = open_backups(target)
    files = store.read_listing(made)
    assert "workspace/out/train/alder/prefix.safetensors" in files
    assert any(name.startswith("artifacts/") and name.endswith("/MLmodel") for name in files)

    (fleet / "overrides").mkdir(exist_ok=True)
    (fleet / "overrides" / "alder.yaml").write_text("train: {seed: 0}\n")
    again = make_backup(Workspace(fleet), target).manifest
    new = store.read_listing(again)
    changed = {name for name, one in new.items() if files.get(name) != one}
    assert "workspace/overrides/alder.yaml" in changed
    assert all(name.startswith(("databases/", "workspace/overrides/")) for name in changed)
    assert again.new_bytes < made.new_bytes
    assert not (fleet / "var" / "backup" / "scratch").exists()


def test_while_a_run_or_another_backup_works_there_is_no_backup_and_no_trace(fleet, target):
    with Workspace(fleet).lock(), pytest.raises(LockHeldError, match="another run"):
        make_backup(Workspace(fleet), target)
    assert open_backups(target).list_ids() == []
    from components.storage.atomic_files import hold_file_lock

    with (
        hold_file_lock(fleet / "var/backup/lock", fleet, ""),
        pytest.raises(LockHeldError, match="wait until that backup ends"),
    ):
        make_backup(Workspace(fleet), target)


def test_a_target_in_the_workspace_or_of_another_workspace_is_refused(fleet, target, trained_fleet):
    with pytest.raises(BackupError, match="a target outside of the workspace"):
        make_backup(Workspace(fleet), str(fleet / "var" / "backups"))
    make_backup(Workspace(fleet), target)
    identity = fleet / "var" / "workspace.json"
    identity.write_text(json.dumps({**json.loads(identity.read_text()), "id": "another"}))
    with pytest.raises(BackupError, match="backups of this workspace") as problem:
        make_backup(Workspace(fleet), target)
    assert "name another folder" in problem.value.fix


def test_a_server_without_its_database_is_refused_with_what_to_set(fleet, target, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@127.0.0.1:9")
    with pytest.raises(RegistryError, match="no call that copies its database") as problem:
        make_backup(Workspace(fleet), target)
    assert "MLFLOW_BACKEND_STORE_URI" in problem.value.fix
    assert "secret" not in str(problem.value)


def test_a_version_whose_files_are_gone_is_named_and_does_not_stop_the_backup(fleet, target):
    for path in (fleet / "var/mlflow/artifacts").rglob("prefix.safetensors"):
        path.unlink()
    assert make_backup(Workspace(fleet), target).manifest.facts["incomplete"] == ["prefix-alder/1"]


def test_rows_that_are_written_meanwhile_are_in_it_whole_or_not_at_all(fleet, target, tmp_path):
    """A server goes on during a backup: the copied ledger continues its chain."""
    stop = multiprocessing.get_context("fork").Event()

    def write():
        database = Workspace(fleet).database
        while not stop.is_set():
            append_entries(database, LedgerEntry(tenant="alder", by="ada", action="pause", why="x"))

    writer = multiprocessing.get_context("fork").Process(target=write)
    writer.start()
    try:
        manifest = make_backup(Workspace(fleet), target).manifest
    finally:
        stop.set()
        writer.join()
    store = open_backups(target)
    copy = tmp_path / "copy.db"
    assert store.read_object(store.read_listing(manifest)["databases/rollout.sqlite"].sha256, copy) == ""
    from components.rollout.store.database import open_database_url
    from components.rollout.store.ledger_chain import check_chain

    assert check_chain(open_database_url(f"sqlite:///{copy}")).broken is None


def test_a_missing_database_ends_the_backup_before_anything_is_published(fleet, target, monkeypatch):
    monkeypatch.setenv("PREFIXFLEET_DATABASE", "mysql://host/x")
    with pytest.raises(WorkspaceError, match="SQLite or PostgreSQL"):
        make_backup(Workspace(fleet), target)
    assert open_backups(target).list_ids() == []


def test_a_moved_fleet_is_backed_up_from_its_present_place(fleet, target):
    make_backup(Workspace(fleet), target)
    moved = fleet.rename(fleet.with_name("moved"))
    relocate(moved / "var/mlflow/mlflow.db", moved)
    set_params(moved)
    manifest = make_backup(Workspace(moved), target).manifest
    assert manifest.facts["folder"] == str(moved)
    assert manifest.facts["incomplete"] == []
    with sqlite3.connect(moved / "var/mlflow/mlflow.db") as connection:
        (uri,) = connection.execute("SELECT DISTINCT artifact_location FROM experiments WHERE name = 'prefixfleet'")
    assert manifest.facts["locations"][0]["uri"] == uri[0]
