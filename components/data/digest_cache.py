"""A cache of file digests: the sha256 of each file, with its size, times and inode at the time it was read.

    var/digests     the first line has the sha256 of the second, JSON of path -> ["size mtime ctime inode", sha256]
                    (for a folder: its path with the function's name -> the stats of its files by name, and what the
                    function computed)

A file counts as unchanged while its size, both times and its inode are unchanged. This is safe only if both times were
clearly in the past when the file was read: a file can be written twice within one tick of the file system's clock (git
calls such entries racily clean). A fresh file is therefore read again until its times are old enough. The clocks of the
file system and of this machine must agree within that time. Changes that no stat shows (a failing disk, a clock that
was set back) are found by a full check, which ignores the cache.

A missing or broken index only costs reading. Several processes may share one: it is replaced as a whole, the last
writer wins, and every entry is compared with the file before it is used. Knows no tenant.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from components.storage.atomic_files import write_atomic
from components.storage.json_text import parse_json

MIN_AGE_NS = 2_000_000_000
"""Age in nanoseconds that a file's times must have before its digest is cached: FAT's tick, the coarsest in use."""

_FORMAT = "prefixfleet digests 1"
_FUNCTION_MARK = "\0"
"""In the name of a folder's entry, between the path and the function that computed it; no path has this character."""


class DigestCache:
    """Digests of files, which are read only if they may have changed. Thread-safe."""

    def __init__(
        self, index: Path, root: Path, *, full_check: bool = False, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Load the cache of files under `root` from `index`; with `full_check` ignore it."""
        self._index, self._root, self._now_ns = index, root, now_ns
        self._stored = {} if full_check else _read_index(index)
        self._current: dict[str, tuple[str, str]] = {}
        self._has_changed = self._ignores_stored = full_check

    def digest_file(self, path: Path) -> str | None:
        """Return the hex sha256 of a file's bytes; None if there is no such file."""
        try:
            return self._digest(path, _stat_file, _hash_file)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def digest_folder(self, folder: Path, compute: Callable[[Path], str]) -> str:
        """Return `compute(folder)`, cached by the function's name until a file directly in the folder changes.

        `compute` must depend on these files alone.
        """
        return self._digest(folder, _stat_folder, compute, f"{compute.__module__}.{compute.__qualname__}")

    def save(self) -> None:
        """Write the cache, merged with the entries of other processes, without files that no longer exist.

        After a full check only the digests that this process read are kept.

        Raises:
            WorkspaceError: the disk is full or the folder cannot be written.

        """
        if not self._has_changed:
            return
        own = dict(self._current)
        before = {} if self._ignores_stored else _read_index(self._index)
        others = {name: known for name, known in before.items() if name not in own}
        kept = {
            name: known for name, known in others.items() if (self._root / name.partition(_FUNCTION_MARK)[0]).exists()
        }
        body = json.dumps({**kept, **own}, separators=(",", ":")).encode()
        write_atomic(self._index, _format_header(body) + body)
        self._has_changed = self._ignores_stored = False

    def _digest(
        self,
        path: Path,
        read_facts: Callable[[Path], tuple[str, int]],
        compute: Callable[[Path], str],
        function: str = "",
    ) -> str:
        name = str(path).removeprefix(f"{self._root}{os.sep}") + (f"{_FUNCTION_MARK}{function}" if function else "")
        facts, newest_ns = read_facts(path)
        known = self._current.get(name) or self._stored.get(name)
        if known is None or known[0] != facts:
            started_ns = self._now_ns()
            known = facts, compute(path)
            if newest_ns + MIN_AGE_NS >= started_ns or read_facts(path)[0] != facts:
                self._current.pop(name, None)
                return known[1]
            self._has_changed = True
        self._current[name] = known
        return known[1]


def _stat_file(path: Path) -> tuple[str, int]:
    """Return a file's size, times and inode as text, and its newest time in nanoseconds."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(path)
    facts = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    return facts, max(status.st_mtime_ns, status.st_ctime_ns)


def _stat_folder(folder: Path) -> tuple[str, int]:
    seen = {path.name: _stat_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    return json.dumps({name: facts for name, (facts, _) in seen.items()}), max(
        (ns for _, ns in seen.values()), default=0
    )


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _format_header(body: bytes) -> bytes:
    return f"{_FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode()


def _read_index(index: Path) -> dict[str, tuple[str, str]]:
    try:
        content = index.read_bytes()
    except OSError:
        return {}
    head, line, body = content.partition(b"\n")
    if head + line != _format_header(body):
        return {}
    try:
        return {name: (facts, digest) for name, (facts, digest) in parse_json(body).items()}
    except (ValueError, TypeError, AttributeError):
        return {}
