"""Mount points at and below a folder."""

from pathlib import Path

import pytest

from components.storage import mounts
from components.storage.mounts import find_mount_point


def test_the_table_names_mount_points_at_and_below_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "table"
    escaped = str(tmp_path / "a b/c").replace(" ", "\\040")
    table.write_text(
        f"36 35 98:0 /x {escaped} rw - ext4 /dev/root rw\n37 35 98:0 / {tmp_path}/abc rw - ext4 x rw\nbroken\n"
    )
    monkeypatch.setattr(mounts, "MOUNT_TABLE", table)
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    assert find_mount_point(tmp_path / "a b") == tmp_path / "a b/c"
    assert find_mount_point(tmp_path / "link") == tmp_path / "a b/c"
    assert find_mount_point(tmp_path / "a b/c") == tmp_path / "a b/c"
    assert find_mount_point(tmp_path / "abc") == tmp_path / "abc"
    assert find_mount_point(tmp_path / "ab") is None
    assert find_mount_point(tmp_path / "a b/c/d") is None


def test_without_a_table_the_folder_itself_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "MOUNT_TABLE", tmp_path / "none")
    assert find_mount_point(Path("/")) == Path("/")
    assert find_mount_point(tmp_path) is None
