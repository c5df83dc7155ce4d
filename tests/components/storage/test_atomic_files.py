"""A file is replaced whole or not at all, and a lock file is held by one process at a time."""

import errno
import os
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.errors import WorkspaceError
from components.storage.atomic_files import hold_file_lock, remove_tree, to_workspace_error, write_atomic


def test_content_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_has_the_permissions_of_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_atomic(tmp_path / "file", b"x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkspaceError, match="No space left on device; free space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_the_system_cuts_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(WorkspaceError, match="File too large"):
            write_atomic(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_at_the_path_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(WorkspaceError, match="Is a directory"):
        write_atomic(tmp_path / "file", b"x")


def test_a_held_lock_names_its_process_and_is_free_after_its_block(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "lock"
    with hold_file_lock(lock, tmp_path, "wait"):
        with (
            pytest.raises(WorkspaceError, match=f"process {os.getpid()}") as caught,
            hold_file_lock(lock, tmp_path, "wait"),
        ):
            pass
        assert (caught.value.wanted, caught.value.fix) == (f"exclusive use of {tmp_path}", "wait")
    with hold_file_lock(lock, tmp_path, "wait"):
        pass


@pytest.mark.parametrize("kind", ["missing", "file", "folder", "link to a folder", "link to nothing"])
def test_a_tree_of_any_kind_is_removed_and_a_link_never_followed(tmp_path: Path, kind: str) -> None:
    kept, path = tmp_path / "kept", tmp_path / "path"
    (kept / "inner").mkdir(parents=True)
    if kind == "file":
        path.touch()
    elif kind == "folder":
        (path / "inner").mkdir(parents=True)
        (path / "link").symlink_to(kept)
    elif kind != "missing":
        path.symlink_to(kept if kind == "link to a folder" else tmp_path / "nothing")
    remove_tree(path)
    assert not os.path.lexists(path)
    assert (kept / "inner").is_dir()


def test_an_error_of_many_files_names_the_first_and_a_full_disk() -> None:
    problem = shutil.Error([("a", "b", "[Errno 28] No space left on device"), ("c", "d", "other")])
    error = to_workspace_error(problem, "to copy")
    assert (error.got, error.fix) == (
        "a: [Errno 28] No space left on device",
        "free space on this disk and run again",
    )


def test_a_process_that_gave_up_waiting_does_not_get_the_lock_later(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with hold_file_lock(lock, tmp_path, "wait"):
        with pytest.raises(WorkspaceError), hold_file_lock(lock, tmp_path, "wait", wait_s=0.1):
            pass
        later = ThreadPoolExecutor(1).submit(_take, lock)
    assert later.result() == "taken"
    assert _take(lock) == "taken"


def _take(lock: Path) -> str:
    with hold_file_lock(lock, lock, "wait", wait_s=60):
        return "taken"
