"""Restoring: into an empty folder only, whole or not at all, beside the original or after it, and forgetting again."""

import json
import shutil

import pytest
from stage_chain import run_chain
from workspaces import set_params

from components.errors import BackupError, WorkspaceError
from components.rollout.store.ledger import read_history
from components.rollout.store.ledger_chain import check_chain
from components.rollout.store.tenant_state import read_state
from components.stages.backup import databases
from components.stages.backup.make import make_backup
from components.stages.backup.restore import restore_backup
from components.stages.commands.forget import forget
from components.stages.plan import plan
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.workspace import Workspace
from components.storage.backups.store import open_backups
from components.storage.database_copies import copy_database


@pytest.fixture
def fleet(trained_fleet, tmp_path):
    root = tmp_path / "workspace"
    shutil.copytree(trained_fleet / "workspace", root)
    return root


def read_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_restored_fleet_serves_the_same_files_and_has_nothing_to_train(fleet, target, tmp_path):
    make_backup(Workspace(fleet), target)
    champion = Workspace(fleet).registry.find_champions()["alder"]
    before = read_files(fleet / "out")
    shutil.rmtree(fleet)
    result = restore_backup(target, tmp_path / "new" / "fleet")
    workspace = Workspace(tmp_path / "new" / "fleet")
    assert result.workspace == workspace.root
    assert read_files(workspace.root / "out") == before
    assert not (workspace.root / ".restoring").exists()
    assert workspace.registry.find_champions()["alder"].sha256 == champion.sha256
    assert workspace.registry.fetch(champion, tmp_path / "fetched").is_dir()
    assert not plan(workspace).items
    assert check_chain(workspace.database).broken is None
    assert (result.finished.champions, result.finished.forgotten) == (1, [])


def test_beside_its_original_a_restored_fleet_is_a_copy_that_owns_its_versions(fleet, target, tmp_path):
    make_backup(Workspace(fleet), target)
    result = restore_backup(target, tmp_path / "new")
    assert any("this is a copy with an id of its own" in text for text in result.finished.by_hand)
    workspace = Workspace(tmp_path / "new")
    champion = workspace.registry.find_champions()["alder"]
    assert not workspace.registry.is_foreign(champion)
    assert not Workspace(fleet).registry.is_foreign(Workspace(fleet).registry.find_champions()["alder"])
    with pytest.raises(BackupError, match="backups of this workspace"):
        make_backup(workspace, target)


def test_a_move_by_hand_between_the_copies_of_the_databases_is_recorded_as_one_in_mlflow(
    fleet, target, tmp_path, monkeypatch
):
    set_params(fleet, train={"seed": 1, "initialization": "random"})
    assert run_chain(fleet)[1] == {"alder": "2"}
    copied = []

    def copy_and_move(url, path):
        copy_database(url, path)
        copied.append(url)
        if len(copied) == 1:
            assert manual.roll_back(Workspace(fleet), "alder") == ("2", "1")

    monkeypatch.setattr(databases, "copy_database", copy_and_move)
    make_backup(Workspace(fleet), target)
    shutil.rmtree(fleet)
    restore_backup(target, tmp_path / "new")
    workspace = Workspace(tmp_path / "new")
    assert read_state(workspace.database, "alder").champion == "2"
    with lock_tenant(workspace, "alder") as lease:
        assert lease.state.champion == workspace.registry.find_champion("alder").version == "1"
    last = read_history(workspace.database, "alder")[-1]
    assert (last.by, last.from_version, last.to_version) == ("mlflow", "2", "1")
    assert check_chain(workspace.database).broken is None


def test_the_environment_of_a_living_fleet_is_not_used(fleet, target, tmp_path, monkeypatch):
    make_backup(Workspace(fleet), target)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("PREFIXFLEET_DATABASE", "postgresql://nobody@127.0.0.1:9/x")
    assert restore_backup(target, tmp_path / "new").finished.champions == 1


def test_a_folder_with_something_in_it_is_refused_and_left_alone(fleet, target, tmp_path):
    make_backup(Workspace(fleet), target)
    with pytest.raises(WorkspaceError, match="a new or empty folder"):
        restore_backup(target, fleet)
    new = tmp_path / "new"
    (new / ".restoring" / "objects").mkdir(parents=True)  # of a restore that was killed
    assert restore_backup(target, new).finished.champions == 1


def test_a_damaged_object_is_found_before_anything_is_there(fleet, target, tmp_path):
    manifest = make_backup(Workspace(fleet), target).manifest
    digest = open_backups(target).read_listing(manifest)["workspace/params.yaml"].sha256
    (tmp_path / "backups" / "objects" / digest[:2] / digest).write_bytes(b"x")
    with pytest.raises(BackupError, match=r"workspace/params\.yaml .* does not match its digest"):
        restore_backup(target, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackupError):
        restore_backup(target, tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []


def test_an_earlier_backup_can_be_chosen_and_a_wrong_choice_is_named(fleet, target, tmp_path):
    first = make_backup(Workspace(fleet), target).manifest
    set_params(fleet, rollout={"policy": "canary"})
    make_backup(Workspace(fleet), target)
    restore_backup(target, tmp_path / "new", backup_id=first.id)
    assert "canary" not in (tmp_path / "new" / "params.yaml").read_text()
    with pytest.raises(BackupError, match="no such backup"):
        restore_backup(target, tmp_path / "other", backup_id="2000")
    with pytest.raises(BackupError, match="got none"):
        restore_backup(str(tmp_path / "nothing"), tmp_path / "other")
    with pytest.raises(BackupError, match="that copy is of SQLite"):
        restore_backup(target, tmp_path / "other", database="postgresql://host/x")


def test_a_backup_of_a_newer_release_is_refused(fleet, target, tmp_path):
    make_backup(Workspace(fleet), target)
    (path,) = (tmp_path / "backups" / "backups").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))
    with pytest.raises(BackupError, match="schema 1 or older; got schema 2"):
        restore_backup(target, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_artifacts_can_be_restored_to_a_store_outside(fleet, target, tmp_path):
    make_backup(Workspace(fleet), target)
    champion = Workspace(fleet).registry.find_champions()["alder"]
    shutil.rmtree(fleet)
    restore_backup(target, tmp_path / "new", artifacts=str(tmp_path / "store"))
    assert not (tmp_path / "new" / "var/mlflow/artifacts").exists()
    fetched = Workspace(tmp_path / "new").registry.fetch(champion, tmp_path / "fetched")
    assert (fetched / "prefix.safetensors").is_file()


def test_a_database_and_artifacts_outside_of_the_workspace_come_back_in_the_new_one(
    make_root, empty_mlflow, target, tmp_path
):
    outside = tmp_path / "outside"
    outside.mkdir()
    shutil.copy(empty_mlflow, outside / "mlflow.db")
    root = make_root(("alder",), registry={"tracking_uri": f"sqlite:///{outside}/mlflow.db"})
    run_chain(root)
    make_backup(Workspace(root), target)
    shutil.rmtree(root)
    shutil.rmtree(outside)
    result = restore_backup(target, tmp_path / "new")
    address = f"sqlite:///{tmp_path}/new/var/mlflow/mlflow.db"
    assert any(text.startswith("set MLFLOW_TRACKING_URI") and address in text for text in result.finished.by_hand)
    set_params(tmp_path / "new")
    registry = Workspace(tmp_path / "new").registry
    assert registry.fetch(registry.find_champions()["alder"], tmp_path / "fetched").is_dir()


@pytest.mark.slow
def test_a_tenant_that_was_forgotten_after_the_backup_is_forgotten_again(make_checkout, target, tmp_path):
    root = make_checkout(("alder", "birch"))
    run_chain(root)
    first = make_backup(Workspace(root), target).manifest
    set_params(root, backup={"target": target})
    forget(Workspace(root), "birch", by=Actor("ada"))
    shutil.rmtree(root)
    result = restore_backup(target, tmp_path / "new", backup_id=first.id)
    assert result.finished.forgotten == ["birch"]
    assert result.finished.champions == 1
    workspace = Workspace(tmp_path / "new")
    assert workspace.list_tenants() == ["alder"]
    assert workspace.registry.find_versions("birch") == []
    assert [(one.by, one.action) for one in read_history(workspace.database, "birch")][-1] == ("restore", "forget")


def test_a_tenant_that_cannot_be_forgotten_again_is_named_when_all_else_is_done(fleet, target, tmp_path):
    set_params(fleet, tenants={"alder": {"gate": {"min_slice": 3}}})
    make_backup(Workspace(fleet), target)
    (tmp_path / "backups" / "forgotten.json").write_text('[{"tenant": "alder", "at": "2026-01-01"}]')
    shutil.rmtree(fleet)
    with pytest.raises(BackupError, match=r"tenants\.alder in it") as problem:
        restore_backup(target, tmp_path / "new")
    assert "everything is restored" in problem.value.fix
    assert Workspace(tmp_path / "new").registry.find_champions().keys() == {"alder"}
