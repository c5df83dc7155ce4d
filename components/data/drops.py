"""Drops on disk: lists them, and removes used ones without losing files that were delivered meanwhile.

Knows no importer and no version.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from components.data.drop_checks import CheckedDrop, FileStamp, list_delivered, remove_duplicates
from components.data.schema import Example, format_line
from components.errors import DataError, WorkspaceError
from components.storage.atomic_files import convert_disk_errors, write_atomic
from components.storage.mounts import find_mount_point

_TAKEN_SUFFIX = ".taken.tmp"


def list_pending(drops: Path) -> list[Path]:
    """Return the sorted entries of the drops folder without hidden ones and empty folders.

    Files that an interrupted `remove_checked_files` renamed are restored first, so that no delivered file is missed.

    Raises:
        WorkspaceError: the drops folder is a file or a link to nothing, or a file cannot be restored.

    """
    if not drops.is_dir():
        if os.path.lexists(drops):
            got = "a link to a missing folder" if drops.is_symlink() else "a file"
            raise WorkspaceError(f"a folder {drops}", got, "correct data.drops in params.yaml, or make it a folder")
        return []
    with convert_disk_errors(f"read {drops}"):
        entries = sorted(entry for entry in drops.iterdir() if not entry.name.startswith("."))
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                for taken in sorted(entry.glob(f".*{_TAKEN_SUFFIX}")):
                    _restore_file(taken, entry / taken.name.removesuffix(_TAKEN_SUFFIX).removeprefix("."))
        return [entry for entry in entries if not entry.is_dir() or _may_have_files(entry)]


def require_removable(folder: Path) -> None:
    """Refuse a drop before it is taken if its files could not be removed afterwards.

    Raises:
        DataError: its folder cannot be written, or something in it is a mount point.

    """
    if point := find_mount_point(folder):
        fix = "copy the files into a folder of the drops folder"
        raise DataError("a drop whose files can be removed after it is taken", f"the mount point {point}", fix)
    if not os.access(folder, os.W_OK | os.X_OK):
        fix = "give this user write permission for the folder, or copy the drop"
        raise DataError("a drop whose files can be removed after it is taken", f"no permission to write {folder}", fix)


def remove_checked_files(report: CheckedDrop, folder: Path) -> None:
    """Remove the files of a drop that are unchanged since the check; a replaced or changed file stays.

    Raises:
        WorkspaceError: a file cannot be removed.

    """
    for split, stamp in report.stamps.items():
        path = folder / f"{split}.jsonl"
        taken = path.with_name(f".{path.name}{_TAKEN_SUFFIX}")
        with convert_disk_errors(f"remove {path}"):
            try:
                path.rename(taken)
            except FileNotFoundError:
                continue
            if FileStamp.from_status(taken.lstat()) == stamp:
                taken.unlink()
            else:
                _restore_file(taken, path)
    with suppress(OSError):
        folder.rmdir()


def add_to_drop(folder: Path, examples: Iterable[Example]) -> None:
    """Append examples that `find_problem` accepts to a drop's training split, as `append_lines` does.

    Raises:
        WorkspaceError: the disk is full; the earlier content is kept.

    """
    append_lines(folder / "train.jsonl", (format_line(example).encode() for example in examples))


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines to a file of a drop, which need not exist.

    A line that is already in the file is skipped, so that a call may be retried. Only one process may add at a time. An
    intake that is running meanwhile sees that the file has changed and leaves it for the next intake.

    Raises:
        WorkspaceError: the disk is full; the earlier content is kept.

    """
    with convert_disk_errors(f"read {path}"):
        waiting = path.read_bytes() if path.exists() else b""
    known = {line.rstrip(b"\r\n") for line in waiting.splitlines()}
    new = [line for line in remove_duplicates(lines) if line.rstrip(b"\r\n") not in known]
    if new:
        gap = b"\n" if waiting and not waiting.endswith(b"\n") else b""
        write_atomic(path, b"".join([waiting, gap, *new]))


def _may_have_files(folder: Path) -> bool:
    """Return whether there are files, or the folder cannot be read: its check refuses that drop alone."""
    try:
        return bool(list_delivered(folder))
    except OSError:
        return True


def _restore_file(taken: Path, path: Path) -> None:
    with convert_disk_errors(f"restore {path}"):
        try:
            os.link(taken, path)
        except FileExistsError:
            write_atomic(path, taken.read_bytes() + b"\n" + path.read_bytes())
        taken.unlink()
