"""Copies files into a store of backups: each content once, read back before it counts as copied.

Does not know what the files are.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.errors import BackupError, WorkspaceError
from components.storage.atomic_files import to_workspace_error
from components.storage.backups.manifest import StoredFile
from components.storage.backups.store import THREADS, BackupStore, find_damage

_IN_MEMORY_BYTES = 4 << 20
"""A smaller file is read once, so that what is written has the digest of its name even if the file changes."""
_TRIES = 3
_FOUND_DAMAGE = "run it again: it copies these again"


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file to copy."""

    name: str
    """Its name in the backup."""
    path: Path
    """Where it is; with `fetch`, ignored."""
    fetch: Callable[[Path], None] | None = None
    """Writes it to a path, from another machine."""
    is_constant: bool = False
    """Whether a name of this kind always has the same content, so that the last backup's digest is still right."""
    may_vanish: bool = False
    """Whether someone may remove it meanwhile; then it is left out."""


class Sender:
    """Copies files for one backup; `files` are those copied so far, by name."""

    def __init__(
        self,
        store: BackupStore,
        former: Mapping[str, StoredFile],
        digest_file: Callable[[Path], str | None],
        scratch: Path,
    ) -> None:
        """`former`: the files of the last backup. `digest_file`: may remember. `scratch`: an empty folder."""
        self._store, self._former, self._digest_file, self._scratch = store, former, digest_file, scratch
        self._present = store.list_objects()
        self._verified = {one.sha256 for one in former.values()}
        self._sizes: dict[str, int] = {}
        """Objects that this backup wrote."""
        self.files: dict[str, StoredFile] = {}

    @property
    def new_bytes(self) -> int:
        """The size of all objects that were written."""
        return sum(self._sizes.values())

    def list_again(self) -> None:
        """Empty the list of files; a constant one that was copied is not read again, if it is still there."""
        self._former = {**self._former, **self.files}
        self.files = {}

    def send(self, sources: Iterable[FileSource]) -> None:
        """Copy files that are not in the store yet.

        Raises:
            WorkspaceError: a file cannot be read, or changes all the time.
            WorkersError: the store fails.
        """
        with ThreadPoolExecutor(THREADS) as pool:
            for name, file in pool.map(self._send, sources):
                if file is not None:
                    self.files[name] = file

    def write(self, content: bytes) -> str:
        """Write an object that has no name; return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._present:
            self._write(digest, len(content), lambda: self._store.write_object(digest, content))
        return digest

    def check(self, extra: Iterable[str] = ()) -> None:
        """Check that all files are in the store: those that are new by reading them back.

        Raises:
            BackupError: some are not, or are damaged; the latter are removed from the store.
        """
        needed = {*extra, *(one.sha256 for one in self.files.values())}
        missing = needed - self._store.list_objects()
        damaged = find_damage(self._store, needed - self._verified - missing, self._scratch)
        self._store.delete_objects(damaged)
        if missing or damaged:
            got = f"{len(missing)} missing and {len(damaged)} damaged"
            raise BackupError(f"all objects of this backup in {self._store.url}", got, _FOUND_DAMAGE)

    def _send(self, source: FileSource) -> tuple[str, StoredFile | None]:
        known = self._former.get(source.name) if source.is_constant else None
        if known is not None and known.sha256 in self._present and self._has_size(source, known.size):
            return source.name, known
        if source.fetch is not None:
            path = self._scratch / hashlib.sha256(source.name.encode()).hexdigest()
            try:
                source.fetch(path)
                return source.name, self._send_file(path)
            finally:
                path.unlink(missing_ok=True)
        try:
            return source.name, self._send_file(source.path)
        except FileNotFoundError as problem:
            if source.may_vanish:
                return source.name, None
            fix = "run again when nothing else works on this workspace"
            raise WorkspaceError(f"to copy {source.path}", "a file that was removed meanwhile", fix) from problem

    @staticmethod
    def _has_size(source: FileSource, size: int) -> bool:
        if source.fetch is not None:
            return True
        try:
            return source.path.stat().st_size == size
        except FileNotFoundError:
            return False

    def _send_file(self, path: Path) -> StoredFile:
        for _ in range(_TRIES):
            with _convert_but_missing(path):
                before = path.stat()
                is_small = before.st_size <= _IN_MEMORY_BYTES
                digest = self._digest_file(path) if before.st_size else hashlib.sha256(b"").hexdigest()
                if digest is None:
                    raise FileNotFoundError(path)
                is_executable = bool(before.st_mode & 0o100)
                if digest in self._present:
                    return StoredFile(digest, before.st_size, is_executable)
                content = path.read_bytes() if is_small else b""
            if is_small:
                return StoredFile(self.write(content), len(content), is_executable)
            self._write(digest, before.st_size, lambda digest=digest: self._store.upload_object(digest, path))  # type: ignore[misc]
            with _convert_but_missing(path):
                after = path.stat()
            if (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns):
                return StoredFile(digest, before.st_size, is_executable)
            self._forget(digest)
        raise WorkspaceError(
            f"to copy {path}", "a file that changes all the time", "run again when nothing writes to it"
        )

    def _write(self, digest: str, size: int, write: Callable[[], None]) -> None:
        write()
        self._sizes[digest] = size
        self._present.add(digest)

    def _forget(self, digest: str) -> None:
        """Remove an object whose file changed while it was copied."""
        self._store.delete_objects([digest])
        self._sizes.pop(digest, None)
        self._present.discard(digest)


@contextmanager
def _convert_but_missing(path: Path) -> Iterator[None]:
    """Convert errors of the disk, but not that a file is missing."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise to_workspace_error(problem, f"to read {path}") from problem
