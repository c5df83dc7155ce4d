"""Replaces data/ and data.dvc together: a kill at any point leaves either the whole old version or the whole new one.

    data.tmp            the new data/, built and added to DVC beside the old one
    data.tmp.dvc        the .dvc file that DVC wrote for data.tmp
    data.dvc.next.tmp   the new data.dvc; its existence commits the swap
    data.old.tmp        the old data/ while the folders are renamed

Without data.dvc.next.tmp, `recover_swap` removes the other files and the old version stays; with it, `recover_swap`
completes the swap. Does not know drops or examples.
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
    """Make data.tmp/, a copy of data/ by hard links (or copies). Replace its files, never write into them.

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
    """Replace data/ by the staged folder and data.dvc by its version.

    Raises:
        WorkspaceError: a file or folder cannot be written or renamed; the next `recover_swap` completes or undoes it.

    """
    remove_temporaries(workspace / _NEXT_POINTER)
    write_atomic(workspace / _NEXT_POINTER, _format_next_pointer(workspace))
    recover_swap(workspace)


def recover_swap(workspace: Path) -> None:
    """Complete a committed swap, or remove the files of an uncommitted one; does nothing if there was no swap.

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
