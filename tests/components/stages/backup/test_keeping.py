"""Old backups go, the last good one never; damage is found, set aside and repaired by the next backup."""

import shutil

import pytest

from components.errors import BackupError
from components.stages.backup.keeping import list_backups, verify_backups
from components.stages.backup.make import make_backup
from components.stages.workspace import Workspace
from components.storage.backups.store import open_backups


@pytest.fixture
def fleet(trained_fleet, tmp_path):
    root = tmp_path / "workspace"
    shutil.copytree(trained_fleet / "workspace", root)
    return root


def test_only_the_newest_are_kept_with_all_their_objects(fleet, target):
    first = make_backup(Workspace(fleet), target).manifest
    second = make_backup(Workspace(fleet), target, keep=2)
    assert second.removed == []
    third = make_backup(Workspace(fleet), target, keep=1)
    assert third.removed == [first.id, second.manifest.id]
    store = open_backups(target)
    assert store.list_ids() == [third.manifest.id]
    assert verify_backups(store).backups == 1
    used = {one.sha256 for one in store.read_listing(third.manifest).values()} | {third.manifest.listing}
    assert store.list_objects() == used


def test_nothing_is_removed_while_a_backup_that_stays_cannot_be_read(fleet, target, tmp_path):
    first = make_backup(Workspace(fleet), target).manifest
    second = make_backup(Workspace(fleet), target).manifest
    (tmp_path / "backups" / "backups" / f"{second.id}.json").write_bytes(b"{")
    assert make_backup(Workspace(fleet), target, keep=2).removed == []
    assert first.id in open_backups(target).list_ids()
    assert [bool(problem) for _, _, problem in list_backups(open_backups(target))] == [False, True, False]


def test_damage_is_found_set_aside_and_repaired_by_the_next_backup(fleet, target, tmp_path):
    manifest = make_backup(Workspace(fleet), target).manifest
    store = open_backups(target)
    digest = store.read_listing(manifest)["workspace/out/train/alder/prefix.safetensors"].sha256
    (tmp_path / "backups" / "objects" / digest[:2] / digest).write_bytes(b"rust")
    with pytest.raises(BackupError, match=r"1 objects, such as .* does not match its digest") as problem:
        verify_backups(store)
    assert manifest.id in problem.value.got
    assert (tmp_path / "backups" / "damaged" / digest).read_bytes() == b"rust"
    make_backup(Workspace(fleet), target)
    assert verify_backups(store).backups == 2
    with pytest.raises(BackupError, match="none"):
        verify_backups(open_backups(str(tmp_path / "empty")))
