"""Removing used drops without losing files that were delivered meanwhile."""

import os
from pathlib import Path

import pytest
from fake_dvc import read_tree

from components.config import DataConfig
from components.data.drop_checks import check_drop
from components.data.drops import list_pending, remove_checked_files
from components.data.intake import take_drops
from components.data.schema import SPLITS, Example, format_line, write_split
from components.errors import WorkspaceError
from components.storage import mounts

LIMITS = DataConfig(max_rejects=0.5)


def test_files_delivered_while_the_drop_is_used_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "drops" / "a"
    for split in SPLITS:
        write_split(folder / f"{split}.jsonl", [Example("a", ("b",))])
    report = check_drop(folder, LIMITS)
    newer = Example("newer", ("b",))
    write_split(folder / "train.jsonl", [newer])
    with (folder / "test.jsonl").open("a") as file:
        file.write(format_line(newer))
    remove_checked_files(report, folder)
    assert set(read_tree(folder)) == {"train.jsonl", "test.jsonl"}
    assert read_tree(folder)["train.jsonl"] == format_line(newer).encode()
    assert read_tree(folder)["test.jsonl"].endswith(format_line(newer).encode())


def test_an_interrupted_removal_is_restored_together_with_a_newer_delivery(tmp_path: Path) -> None:
    folder = tmp_path / "drops" / "a"
    folder.mkdir(parents=True)
    (folder / ".train.jsonl.taken.tmp").write_bytes(b"one")
    assert list_pending(tmp_path / "drops") == [folder]
    (folder / ".train.jsonl.taken.tmp").write_bytes(b"two")
    list_pending(tmp_path / "drops")
    assert read_tree(folder) == {"train.jsonl": b"two\none"}


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_drops_folder_that_is_no_folder_is_an_error_and_not_no_drop(tmp_path: Path, kind: str) -> None:
    drops = tmp_path / "drops"
    drops.touch() if kind == "file" else drops.symlink_to(tmp_path / "missing")
    with pytest.raises(WorkspaceError, match=kind):
        list_pending(drops)
    assert list_pending(tmp_path / "none") == []


@pytest.mark.parametrize("kind", ["no permission to write", "the mount point"])
def test_a_drop_that_could_not_be_removed_is_refused_before_it_is_taken(
    fake_workspace: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    real, table = os.access, fake_workspace.with_name("mounts")
    if kind == "the mount point":
        table.write_text(f"36 35 98:0 / {fake_workspace}/drops/a/train.jsonl rw - ext4 /dev/root rw\n")
        monkeypatch.setattr(mounts, "MOUNT_TABLE", table)
    else:
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "a" and real(path, mode))
    result = take_drops(fake_workspace, LIMITS)
    assert result.changed == ["b"]
    assert kind in result.refused["a"]


def test_a_drop_that_cannot_be_removed_in_the_end_does_not_keep_the_others(
    fake_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if "drops/a" in str(self):
            raise OSError(16, "Device or resource busy")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(WorkspaceError, match="busy"):
        take_drops(fake_workspace, LIMITS)
    assert not (fake_workspace / "drops/b").exists()
    assert (fake_workspace / "drops/a/train.jsonl").exists()
