"""Uploaded files: written under a temporary name, checked, and only then stored and listed.

A file is var/uploads/<owner>/<id>.jsonl. The owner is the tenant of the key, so that forgetting a tenant removes its
files. Knows no HTTP.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.config import DataConfig
from components.errors import DataError
from components.fine_tuning.file_process import check_file
from components.rollout.store.uploaded_files import UploadedFile, add_file, count_files, remove_file
from components.storage.atomic_files import convert_disk_errors
from components.storage.database import Database

FOLDER = "uploads"
_ADMIN_FOLDER = "_admin"  # no tenant id
_SUFFIX = ".jsonl"
_MAX_NAME_CHARS = 255


class Uploads:
    """The uploaded files of a workspace; safe to use from many threads."""

    def __init__(
        self, root: Path, database: Database, limits: DataConfig, clock: Callable[[], float] = time.time
    ) -> None:
        """`root` is the workspace's folder; `clock` gives seconds since 1970. Makes nothing yet."""
        self._folder, self._database, self._limits, self._clock = root / "var" / FOLDER, database, limits, clock

    def get_path(self, file: UploadedFile) -> Path:
        """Return where a file's content is."""
        return self._folder / (file.tenant or _ADMIN_FOLDER) / f"{file.id}{_SUFFIX}"

    @contextmanager
    def receive(self, owner: str | None) -> Iterator[Path]:
        """Yield a temporary path for the content of one upload; removed at the block's end unless it was stored.

        Raises WorkspaceError: the disk refuses.
        """
        folder = self._folder / (owner or _ADMIN_FOLDER)
        temporary = folder / f".{secrets.token_hex(8)}.tmp"
        with convert_disk_errors(f"write {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def require_room(self, owner: str | None, max_files: int) -> None:
        """Refuse an upload before it is received. Raises DataError: the owner has `max_files` files already."""
        if count_files(self._database, owner) >= max_files:
            raise _make_count_error(max_files)

    def store(self, temporary: Path, name: str, owner: str | None, max_files: int) -> UploadedFile:
        """Check a received file and store it under a new id.

        Raises:
            DataError: the name or a line is wrong, or the owner has `max_files` files already; nothing is stored.
            WorkspaceError: the disk or the database refuses.
        """
        check_name(name)
        examples = check_file(temporary, name, self._limits).examples
        file = UploadedFile(
            id=f"file-{secrets.token_hex(12)}",
            tenant=owner,
            name=name,
            size_bytes=temporary.stat().st_size,
            examples=examples,
            created_s=self._clock(),
        )
        path = self.get_path(file)
        with convert_disk_errors(f"write {path}"):
            with temporary.open("rb") as content:
                os.fsync(content.fileno())
            temporary.replace(path)
        is_added = False
        try:
            is_added = add_file(self._database, file, max_files)
        finally:
            if not is_added:
                path.unlink(missing_ok=True)
        if not is_added:
            raise _make_count_error(max_files)
        return file

    def remove(self, file: UploadedFile) -> None:
        """Remove a file's row and its content. Raises WorkspaceError."""
        remove_file(self._database, file.id)
        with convert_disk_errors(f"remove the file {file.id}"):
            self.get_path(file).unlink(missing_ok=True)


def check_name(name: str) -> None:
    """Raise DataError unless `name` can be the name of an uploaded file."""
    if not name.lower().endswith(_SUFFIX):
        raise DataError(f"a file whose name ends with {_SUFFIX}", repr(name[:100]), "send JSON lines")
    if len(name) > _MAX_NAME_CHARS or not name.isprintable():
        wanted = f"a printable file name of at most {_MAX_NAME_CHARS} characters"
        raise DataError(wanted, repr(name[:100]), "rename the file")


def _make_count_error(max_files: int) -> DataError:
    fix = "delete some (DELETE /v1/files/{id}), or ask your operator for a larger limit"
    return DataError(f"at most {max_files} uploaded files (access.max_files)", "as many as that", fix)
