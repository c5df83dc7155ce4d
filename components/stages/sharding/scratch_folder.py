"""Scratch folders of a worker's home: one for each shard at work, removed at its end, or later if it was killed.

    <home>/scratch/<name>        the folder
    <home>/scratch/<name>.lock   held by the process that uses it; the system frees it when the process ends

Several workers may share one home. Does not know what is in the folders.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.errors import WorkspaceError
from components.stages.progress import log_info
from components.storage.atomic_files import convert_disk_errors, hold_file_lock

_LOCK_SUFFIX = ".lock"


@contextmanager
def hold_scratch_folder(home: Path, name: str) -> Iterator[Path]:
    """Make an empty folder for the block, and remove it at the end. Removes folders that killed processes left.

    Raises:
        WorkspaceError: the home cannot be written.
    """
    place = home.resolve() / "scratch"
    remove_abandoned(place)
    folder = place / f"{name}-{secrets.token_hex(4)}"
    with hold_file_lock(_get_lock(folder), folder, "try again"):
        with convert_disk_errors(f"make {folder}"):
            folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder)


def remove_abandoned(place: Path) -> None:
    """Remove every folder in `place` whose process has ended. A folder in use exists only while its lock is held."""
    for folder in sorted(path for path in place.glob("*/") if path.is_dir()):
        with suppress(WorkspaceError), hold_file_lock(_get_lock(folder), folder, ""):
            log_info(f"removing {folder}, which a killed worker left")
            _remove(folder)


def _get_lock(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)


def _remove(folder: Path) -> None:
    """Remove a folder and its lock. What cannot be removed stays for the next worker of this home."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        with suppress(OSError):
            _get_lock(folder).unlink(missing_ok=True)
