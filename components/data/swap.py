"""Replacing data/ and data.dvc together, so that a kill at any point leaves the old version or the new one, whole.

    data.tmp            the next data/, built and versioned beside the old one
    data.tmp.dvc        what DVC says of it
    data.dvc.next.tmp   the next data.dvc; once it stands, the new version is decided
    data.old.tmp        the old data/ while the names change

While data.dvc.next.tmp is absent, `recover` clears the rest away and the old version stands; once it is there,
`recover` finishes what was begun. Knows no drop and no example.
"""

import os
import shutil
from pathlib import Path

import yaml

from components.data.digests import pointer_output
from components.data.dvc import POINTER
from components.storage.atomic_files import disk_errors, sweep, sync_folder, write_atomic

DATA = "data"
STAGED = "data.tmp"
STAGED_POINTER = "data.tmp.dvc"
_NEXT_POINTER = "data.dvc.next.tmp"
_OLD = "data.old.tmp"


def stage_copy(workspace: Path) -> Path:
    """Make data.tmp/, a copy of data/ by hard links (or copies): replace its files, never write into them.

    Raises:
        WorkspaceError: the disk is full.

    """
    staged = workspace / STAGED
    with disk_errors(f"copy {DATA} to {staged}"):
        if (workspace / DATA).exists():
            shutil.copytree(workspace / DATA, staged, copy_function=_link)
        else:
            staged.mkdir()
    return staged


def swap(workspace: Path) -> None:
    """Put the staged folder, versioned as data.tmp.dvc, in the place of data/, and data.dvc with it.

    Raises:
        WorkspaceError: a file or folder cannot be written or renamed; `recover` says which version stands.

    """
    sweep(workspace / _NEXT_POINTER)
    write_atomic(workspace / _NEXT_POINTER, _next_pointer(workspace))
    recover(workspace)


def recover(workspace: Path) -> None:
    """Finish a swap that was begun, or clear away what was not; does nothing in a workspace at rest.

    Raises:
        WorkspaceError: a file or folder cannot be renamed or removed.

    """
    with disk_errors(f"finish the swap of {workspace / DATA}"):
        if (workspace / _NEXT_POINTER).exists():
            _finish(workspace)
        elif (workspace / _OLD).exists() and not (workspace / DATA).exists():
            (workspace / _OLD).rename(workspace / DATA)
        (workspace / STAGED_POINTER).unlink(missing_ok=True)
        _remove(workspace / STAGED)
        _remove(workspace / _OLD)


def _finish(workspace: Path) -> None:
    data, staged, old = workspace / DATA, workspace / STAGED, workspace / _OLD
    if staged.exists():
        if data.exists():
            _remove(old)
            data.rename(old)
        staged.rename(data)
    (workspace / _NEXT_POINTER).replace(workspace / POINTER)
    sync_folder(workspace)


def _next_pointer(workspace: Path) -> bytes:
    output = pointer_output(workspace / STAGED_POINTER) | {"path": DATA}
    values = {"outs": [output]}
    if (workspace / POINTER).exists():
        old = pointer_output(workspace / POINTER)
        values = yaml.safe_load((workspace / POINTER).read_text(encoding="utf-8")) | {"outs": [old | output]}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
