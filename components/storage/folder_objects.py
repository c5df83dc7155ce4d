"""Objects as files in a folder: the store behind `file://`, for one machine or a folder that machines share.

A file is written under a temporary name and renamed, so that a reader sees the old content or the new. Raises OSError.
"""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from components.storage.atomic_files import sync_folder
from components.storage.object_names import StoredObject

_TEMPORARY_FOLDER = ".temporary"
_RENAME_TRIES = 20
"""Another process may remove an empty folder just before a file is moved into it."""


class FolderObjects:
    """Objects below one folder."""

    def __init__(self, root: Path) -> None:
        """Touch nothing."""
        self._root = root

    def put_bytes(self, key: str, content: bytes) -> None:
        """Write an object."""
        with self._replace(key) as file:
            file.write(content)

    def put_file(self, path: Path, key: str, progress: Callable[[int], None]) -> None:
        """Write an object from a file."""
        with path.open("rb") as source, self._replace(key) as file:
            _copy(source, file, progress)

    def get_bytes(self, key: str) -> bytes:
        """Read an object."""
        return (self._root / key).read_bytes()

    def get_file(self, key: str, path: Path, progress: Callable[[int], None]) -> None:
        """Copy an object to a file."""
        with (self._root / key).open("rb") as source, path.open("wb") as file:
            _copy(source, file, progress)

    def list_objects(self, start: str) -> dict[str, StoredObject]:
        """Return key -> time of writing and size of the objects whose keys begin with `start`."""
        found: dict[str, StoredObject] = {}
        for folder, folders, files in os.walk(self._root / start.rpartition("/")[0], onerror=_raise_unless_missing):
            folders[:] = [each for each in folders if not each.startswith(".")]
            for name in files:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if key.startswith(start):
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        facts = path.stat()
                        found[key] = StoredObject(datetime.fromtimestamp(facts.st_mtime, UTC), facts.st_size)
        return found

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, and folders that are empty then."""
        for key in keys:
            path = self._root / key
            with suppress(NotADirectoryError):
                path.unlink(missing_ok=True)
            for folder in [parent for parent in path.parents if parent.is_relative_to(self._root)][:-1]:
                try:
                    folder.rmdir()
                except OSError:  # not empty, or gone
                    break

    def delete_leftovers(self, before: datetime) -> None:
        """Delete temporary files that killed processes left before a time."""
        for path in (self._root / _TEMPORARY_FOLDER).glob("*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()

    @contextmanager
    def _replace(self, key: str) -> Iterator[BinaryIO]:
        """Open a temporary file that becomes the object at the end of the block; removed if the block fails."""
        temporary = self._root / _TEMPORARY_FOLDER / secrets.token_hex(12)
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self._move(temporary, self._root / key)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    @staticmethod
    def _move(temporary: Path, path: Path) -> None:
        for tries_left in reversed(range(_RENAME_TRIES)):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(path)
                break
            except FileNotFoundError:
                if not tries_left:
                    raise
        sync_folder(path.parent)


def _copy(source: BinaryIO, target: BinaryIO, progress: Callable[[int], None]) -> None:
    done_bytes = 0
    while chunk := source.read(2**20):
        done_bytes += target.write(chunk)
        progress(done_bytes)


def _raise_unless_missing(problem: OSError) -> None:
    if not isinstance(problem, FileNotFoundError | NotADirectoryError):
        raise problem
