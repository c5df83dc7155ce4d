"""Replacing data/ and data.dvc together, so that a kill at any point leaves the old version or the new one, whole.

    data.tmp            the next data/, built and versioned beside the old one
    data.tmp.dvc        what DVC says of it
    data.dvc.next.tmp   the next data.dvc; once it stands, the new version is decided
    data.old.tmp        the old data/ while the names change

While data.dvc.next.tmp is absent, `recover_swap` clears the rest away and the old version stands; once it is there,
`recover_swap` finishes what was begun. Knows no drop and no example.
"""

import os
import shutil
from pathlib import Path

import yaml

from components.data.digests import read_pointer_output
from components.data.dvc import POINTER_FILE
from components.storage.atomic_files import convert_disk_errors, remove_temporaries, sync_folder, write_atomic

DATA_FOLDER = "data"
STAGED_FOLDER = "data.tmp"
STAGED_POINTER = "data.tmp.dvc"
_NEXT_POINTER = "data.dvc.next.tmp"
_OLD_FOLDER = "data.old.tmp"


def stage_copy(workspace: Path) -> Path:
    """Make data.tmp/, a copy of data/ by hard links (or copies): replace its files, never write into them.

    Raises:
        WorkspaceError: the disk is full.

    """
    staged = workspace / STAGED_FOLDER
    with convert_disk_errors(f"copy {DATA_FOLDER} to {staged}"):
        if (workspace / DATA_FOLDER).exists():
            shutil.copytree(workspace / DATA_FOLDER, staged, copy_function=_link_or_copy)
        else:
            staged.mkdir()
    return staged


def swap_in_staged(workspace: Path) -> None:
    """Put the staged folder, versioned as data.tmp.dvc, in the place of data/, and data.dvc with it.

    Raises:
        WorkspaceError: a file or folder cannot be written or renamed; `recover_swap` says which version stands.

    """
    remove_temporaries(workspace / _NEXT_POINTER)
    write_atomic(workspace / _NEXT_POINTER, _format_next_pointer(workspace))
    recover_swap(workspace)


def recover_swap(workspace: Path) -> None:
    """Finish a swap that was begun, or clear away what was not; does nothing in a workspace at rest.

    Raises:
        WorkspaceError: a file or folder cannot be renamed or removed.

    """
    with convert_disk_errors(f"finish the swap of {workspace / DATA_FOLDER}"):
        if (workspace / _NEXT_POINTER).exists():
            _finish_swap(workspace)
        elif (workspace / _OLD_FOLDER).exists() and not (workspace / DATA_FOLDER).exists():
            (workspace / _OLD_FOLDER).rename(workspace / DATA_FOLDER)
        (workspace / STAGED_POINTER).unlink(missing_ok=True)
        _remove_folder(workspace / STAGED_FOLDER)
        _remove_folder(workspace / _OLD_FOLDER)


def _finish_swap(workspace: Path) -> None:
    data, staged, old = workspace / DATA_FOLDER, workspace / STAGED_FOLDER, workspace / _OLD_FOLDER
    if staged.exists():
        if data.exists():
            _remove_folder(old)
            data.rename(old)
        staged.rename(data)
    (workspace / _NEXT_POINTER).replace(workspace / POINTER_FILE)
    sync_folder(workspace)


def _format_next_pointer(workspace: Path) -> bytes:
    output = read_pointer_output(workspace / STAGED_POINTER) | {"path": DATA_FOLDER}
    values = {"outs": [output]}
    if (workspace / POINTER_FILE).exists():
        old = read_pointer_output(workspace / POINTER_FILE)
        values = yaml.safe_load((workspace / POINTER_FILE).read_text(encoding="utf-8")) | {"outs": [old | output]}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
