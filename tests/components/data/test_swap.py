"""The swap of data/ and data.dvc, by way of an intake with a fake of DVC."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_dvc import compute_digest, fake_add, fake_add_changes, read_tree, read_version

from components.config import DataConfig
from components.data import dvc, dvc_changes, swap
from components.data.intake import take_drops
from components.data.removal import remove_from_dataset
from components.data.schema import Example, write_split
from components.errors import WorkspaceError
from components.storage import mounts

LIMITS = DataConfig(max_rejects=0.5)


def test_recover_completes_a_swap_that_was_interrupted(fake_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Path, Path], Path] = Path.rename
    old = read_tree(fake_workspace / "data")

    def fail(self: Path, target: Path) -> Path:
        if self.parent.name == "data.tmp" and self.name == "b":
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        take_drops(fake_workspace, LIMITS)
    monkeypatch.undo()
    swap.recover_swap(fake_workspace)
    assert set(read_tree(fake_workspace / "data")) == set(old)
    assert read_tree(fake_workspace / "data") != old
    assert len(read_tree(fake_workspace / "drops")) == 7


def test_the_pointer_keeps_its_other_fields(fake_workspace: Path) -> None:
    values = yaml.safe_load((fake_workspace / "data.dvc").read_text())
    values["desc"] = "tenants"
    values["outs"][0]["remote"] = "eu"
    (fake_workspace / "data.dvc").write_text(yaml.safe_dump(values))
    take_drops(fake_workspace, LIMITS)
    after = yaml.safe_load((fake_workspace / "data.dvc").read_text())
    assert (after["desc"], after["outs"][0]["remote"], after["outs"][0]["path"]) == ("tenants", "eu", "data")
    assert after["outs"][0]["md5"] == compute_digest(fake_workspace / "data")


def link_data(workspace: Path) -> Path:
    """Move data/ to another folder and put a symbolic link in its place."""
    disk = workspace.with_name("disk")
    disk.mkdir()
    (workspace / "data").rename(disk / "data")
    (workspace / "data").symlink_to("../disk/data")
    return disk / "data"


def test_a_link_is_followed_and_stays(fake_workspace: Path) -> None:
    target = link_data(fake_workspace)
    old = read_tree(target)
    assert take_drops(fake_workspace, LIMITS).changed == ["a", "b"]
    assert (fake_workspace / "data").readlink() == Path("../disk/data")
    assert set(read_tree(target)) == set(old)
    assert read_tree(target) != old
    assert [path.name for path in target.parent.iterdir()] == ["data"]
    assert not list(fake_workspace.glob("*.tmp*"))


def leave_half_a_swap(workspace: Path, step: int) -> dict[str, bytes]:
    """Make what releases that renamed data/ as a whole left behind after `step` of a swap; return the new data."""
    staged = workspace / "data.tmp"
    shutil.copytree(workspace / "data", staged)
    shutil.rmtree(staged / "b")
    (staged / "a" / "train.jsonl").unlink()
    (staged / "a" / "train.jsonl").write_text('{"source": "fresh", "references": ["x"]}\n')
    new = read_tree(staged)
    fake_add(workspace, "data.tmp")
    pointer = yaml.safe_load((workspace / "data.tmp.dvc").read_text())
    pointer["outs"][0]["path"] = "data"
    (workspace / "data.dvc.next.tmp").write_text(yaml.safe_dump(pointer))
    if step >= 1:
        (workspace / "data").rename(workspace / "data.old.tmp")
    if step >= 2:
        staged.rename(workspace / "data")
    if step >= 3:
        (workspace / "data.dvc.next.tmp").rename(workspace / "data.dvc")
    return new


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_half_swapped_link_of_an_earlier_release_is_restored(fake_workspace: Path, step: int) -> None:
    target = link_data(fake_workspace)
    new = leave_half_a_swap(fake_workspace, step)
    for _ in range(2):
        swap.recover_swap(fake_workspace)
        assert (fake_workspace / "data").is_symlink()
        assert read_tree(target) == new
        assert [path.name for path in target.parent.iterdir()] == ["data"]
        assert not list(fake_workspace.glob("data.*tmp*"))
        assert read_version(fake_workspace) == compute_digest(target)
    assert take_drops(fake_workspace, LIMITS).changed == ["a", "b"]


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_swap_of_the_whole_folder_by_an_earlier_release_is_completed(fake_workspace: Path, step: int) -> None:
    new = leave_half_a_swap(fake_workspace, step)
    swap.recover_swap(fake_workspace)
    assert read_tree(fake_workspace / "data") == new
    assert not (fake_workspace / "data" / "b").exists()
    assert not list(fake_workspace.glob("data.*tmp*"))
    assert read_version(fake_workspace) == compute_digest(fake_workspace / "data")


def test_other_tenants_files_are_not_touched(fake_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_changes, "add_changes", fake_add_changes)
    before = {path: path.stat() for path in (fake_workspace / "data" / "b").iterdir()}
    assert take_drops(fake_workspace, LIMITS, ["a"]).changed == ["a"]
    assert {path: path.stat() for path in before} == before
    assert read_version(fake_workspace) == compute_digest(fake_workspace / "data")


@pytest.mark.parametrize("adds", ["changes", "all"])
def test_a_tenant_that_is_removed_leaves_no_folder(
    fake_workspace: Path, monkeypatch: pytest.MonkeyPatch, adds: str
) -> None:
    if adds == "changes":
        monkeypatch.setattr(dvc_changes, "add_changes", fake_add_changes)
    assert remove_from_dataset(fake_workspace, "a", push=True)
    assert [path.name for path in (fake_workspace / "data").iterdir()] == ["b"]
    assert read_version(fake_workspace) == compute_digest(fake_workspace / "data")
    assert not list(fake_workspace.glob("data.*tmp*"))


def fail_renames(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException, to: str) -> None:
    """Let renames of a folder of this name to one in the folder `to` fail."""
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name == name and target.parent.name.endswith(to):
            raise error
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)


@pytest.mark.parametrize("linked", [False, True])
def test_a_rename_that_fails_after_a_kill_leaves_the_swap_to_the_next_start(
    fake_workspace: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    data = link_data(fake_workspace) if linked else fake_workspace / "data"
    old = read_tree(data)
    with monkeypatch.context() as patches:
        fail_renames(patches, "b", KeyboardInterrupt(), "data")
        with pytest.raises(KeyboardInterrupt):
            take_drops(fake_workspace, LIMITS)
    with monkeypatch.context() as patches:
        fail_renames(patches, "b", OSError(errno.EBUSY, "busy"), "data")
        with pytest.raises(WorkspaceError, match="busy on renaming"):
            swap.recover_swap(fake_workspace)
    swap.recover_swap(fake_workspace)
    assert read_version(fake_workspace) == compute_digest(data)
    assert set(read_tree(data)) == set(old)
    assert read_tree(data) != old
    assert not list(fake_workspace.glob("data.*tmp*"))


@pytest.mark.parametrize("step", [0, 1])
def test_a_rename_that_fails_in_a_swap_of_an_earlier_release_loses_nothing(
    fake_workspace: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    write_split(fake_workspace / "data" / "c" / "train.jsonl", [Example("unchanged", ("x",))])
    new = leave_half_a_swap(fake_workspace, step)
    with monkeypatch.context() as patches:
        fail_renames(patches, "c", OSError(errno.EIO, "disk"), "data")
        with pytest.raises(WorkspaceError, match="disk on renaming"):
            swap.recover_swap(fake_workspace)
    swap.recover_swap(fake_workspace)
    assert read_tree(fake_workspace / "data") == new
    assert read_version(fake_workspace) == compute_digest(fake_workspace / "data")
    assert not list(fake_workspace.glob("data.*tmp*"))


def test_the_removal_of_a_tenant_is_undone_as_a_whole(fake_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the other tenants staged too, as DVC's own command needs them."""
    before = read_tree(fake_workspace / "data")
    with monkeypatch.context() as patches:
        fail_renames(patches, "b", OSError(errno.EBUSY, "busy"), "data.old.tmp")
        patches.setattr(Path, "unlink", fail_on_commit)
        with pytest.raises(KeyboardInterrupt):
            remove_from_dataset(fake_workspace, "a", push=True)
    assert read_tree(fake_workspace / "data") == before
    swap.recover_swap(fake_workspace)
    assert [path.name for path in (fake_workspace / "data").iterdir()] == ["b"]
    assert read_version(fake_workspace) == compute_digest(fake_workspace / "data")


_unlink = Path.unlink


def fail_on_commit(path: Path, missing_ok: bool = False) -> None:
    if path.name == "data.dvc.new.tmp":
        raise KeyboardInterrupt
    _unlink(path, missing_ok=missing_ok)


def test_a_half_swapped_link_to_a_disk_that_is_gone_leaves_the_new_folder(fake_workspace: Path) -> None:
    target = link_data(fake_workspace)
    new = leave_half_a_swap(fake_workspace, 3)
    shutil.rmtree(target.parent)
    swap.recover_swap(fake_workspace)
    assert read_tree(fake_workspace / "data") == new
    assert not list(fake_workspace.glob("data.*tmp*"))


@pytest.mark.parametrize(
    ("kind", "got"),
    [
        ("mount", "the mount point"),
        ("tenant mount", "the mount point"),
        ("tenant link", "the symbolic link"),
        ("dangling link", "no such folder"),
        ("rename", "Device or resource busy on renaming .*/data/b"),
        ("other file system", "Invalid cross-device link on renaming .*/data/b"),
    ],
)
def test_data_that_cannot_be_replaced_are_refused_before_anything_changes(
    fake_workspace: Path, monkeypatch: pytest.MonkeyPatch, kind: str, got: str
) -> None:
    data = fake_workspace / "data"
    if kind.endswith("mount"):
        point = data / "a" if kind.startswith("tenant") else data
        table = fake_workspace.with_name("mounts")
        table.write_text(f"36 35 98:0 / {point} rw - ext4 /dev/root rw\n")
        monkeypatch.setattr(mounts, "MOUNT_TABLE", table)
    elif kind == "tenant link":
        (data / "a").rename(fake_workspace.with_name("away"))
        (data / "a").symlink_to(fake_workspace.with_name("away"))
    elif kind == "dangling link":
        data.rename(fake_workspace.with_name("away"))
        data.symlink_to(fake_workspace.with_name("missing"))
        monkeypatch.setattr(dvc, "pull", lambda _workspace: None)
    else:
        real = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if self == data / "b" and target.parent.name == "data.old.tmp":
                code = errno.EBUSY if kind == "rename" else errno.EXDEV
                raise OSError(code, os.strerror(code))
            return real(self, target)

        monkeypatch.setattr(Path, "rename", rename)
    before = read_tree(fake_workspace)
    with pytest.raises(WorkspaceError, match=got) as raised:
        take_drops(fake_workspace, LIMITS)
    assert "that can be replaced" in raised.value.wanted
    after = read_tree(fake_workspace)
    assert {name: after[name] for name in before} == before
    made = set(after) - set(before) - {"quarantine/a/train.jsonl", "pushed"}
    assert all(name.startswith("data.tmp") for name in made)
    monkeypatch.undo()
    if kind in ("rename", "other file system"):
        swap.recover_swap(fake_workspace)
        assert set(read_tree(fake_workspace)) - set(before) == {"quarantine/a/train.jsonl", "pushed"}


def test_a_full_disk_under_the_link_leaves_the_old_version(
    fake_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = link_data(fake_workspace)
    old, version = read_tree(target), read_version(fake_workspace)
    real = shutil.copytree

    def fail(source: Path, to: Path, *options: Any, **named: Any) -> Any:
        if Path(to).parent == target.parent:
            Path(to).mkdir()
            raise shutil.Error([(str(source), str(to), "[Errno 28] No space left on device")])
        return real(source, to, *options, **named)

    monkeypatch.setattr(shutil, "copytree", fail)
    with pytest.raises(WorkspaceError, match="free space"):
        take_drops(fake_workspace, LIMITS)
    monkeypatch.undo()
    swap.recover_swap(fake_workspace)
    assert (read_tree(target), read_version(fake_workspace)) == (old, version)
    assert [path.name for path in target.parent.iterdir()] == ["data"]
    assert not list(fake_workspace.glob("data.*tmp*"))
