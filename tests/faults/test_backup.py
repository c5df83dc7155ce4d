"""Backups and restores that are killed or meet a full disk: what was whole before stays whole, and a rerun goes on."""

import os
from contextlib import ExitStack

import pytest
from processes import start_command
from waiting import wait_until

from components.stages.backup.keeping import verify_backups
from components.stages.rollout.cycle import hold_cycle_lock
from components.stages.workspace import Workspace
from components.storage.backups.store import open_backups

pytestmark = pytest.mark.slow


@pytest.fixture
def backups(served, call, tmp_path):
    """A store with one whole backup of a workspace that has changed since."""
    result = call(served, "backup", str(tmp_path / "backups"))
    assert result.exit_code == 0, result.output
    (served / "out" / "train" / "new.bin").write_bytes(os.urandom(300_000))
    return open_backups(str(tmp_path / "backups"))


def test_a_killed_backup_leaves_the_earlier_one_and_the_next_goes_on(served, call, backups, tmp_path):
    first = backups.list_ids()
    with ExitStack() as stack:
        stack.enter_context(hold_cycle_lock(Workspace(served)))  # the backup waits for it with the workspace's lock
        command = stack.enter_context(start_command(served, "backup", str(tmp_path / "backups")))
        lock = served / "var" / "lock"
        wait_until(
            lambda: lock.exists() and lock.read_text() == str(command.process.pid), "the backup to hold the lock"
        )
        command.process.kill()
        command.process.wait()
    (served / "var" / "backup" / "scratch" / "left").write_text("x")
    assert backups.list_ids() == first
    assert verify_backups(backups).backups == 1
    result = call(served, "backup", str(tmp_path / "backups"))
    assert result.exit_code == 0, result.output
    assert verify_backups(backups).backups == 2


def test_a_full_disk_ends_a_backup_and_leaves_the_earlier_one(
    served, call, check_beats, run_on_full_disk, backups, tmp_path
):
    first = backups.list_ids()
    done = run_on_full_disk(served, 200_000, "backup", str(tmp_path / "backups"))
    check_beats(done.returncode, done.stderr, "free space")
    assert backups.list_ids() == first
    assert verify_backups(backups).backups == 1
    assert call(served, "backup", str(tmp_path / "backups")).exit_code == 0


def test_a_full_disk_ends_a_restore_and_leaves_no_folder(served, check_beats, run_on_full_disk, backups, tmp_path):
    done = run_on_full_disk(served, 20_000, "restore", str(tmp_path / "backups"), str(tmp_path / "new"))
    check_beats(done.returncode, done.stderr, "free space on the disk")
    assert not (tmp_path / "new").exists()
