"""Digests of files that need not be read again: what a file was like when it was read last, and its sha256.

    var/digests     a line with the sha256 of the next, which is JSON: path -> ["bytes mtime ctime inode", sha256]
                    (of a folder: its files' names with theirs, and whatever name its content has)

A file is believed unchanged while its size, both times and its inode are. That is safe only if both times were clearly
past when it was read: a file can be written twice within one tick of its clock (git calls such entries racily clean),
so a fresh one is read again until it has settled. The file system's clock is taken to agree with this machine's within
that time. What no stat shows, a disk that rots or a clock set back, is found by a full check: it starts without memory.

A missing or broken index costs reading and nothing else. Several processes may use one: it is written whole, the last
writer wins, and whatever stands in it is compared with the file. Knows no tenant.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from components.storage.atomic_files import write_atomic

MIN_AGE_NS = 2_000_000_000
"""How long both times of a file must be past before its digest is remembered: the coarsest tick in use, FAT's."""

_FORMAT = "prefixfleet digests 1"


class DigestCache:
    """The sha256 of files, read only where they may have changed; several threads may ask."""

    def __init__(
        self, index: Path, root: Path, *, full_check: bool = False, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Read what is remembered in `index` of files under `root`; with `full_check` believe none of it."""
        self._index, self._root, self._now_ns = index, root, now_ns
        self._stored = {} if full_check else _read_index(index)
        self._current: dict[str, tuple[str, str]] = {}
        self._has_changed = self._ignores_stored = full_check

    def digest_file(self, path: Path) -> str | None:
        """Hex sha256 of a file's bytes; None where there is no such file."""
        try:
            return self._digest(path, _stat_file, _hash_file)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def digest_folder(self, folder: Path, compute: Callable[[Path], str]) -> str:
        """What `compute` makes of the files that lie in a folder, always the same of the same ones."""
        return self._digest(folder, _stat_folder, compute)

    def save(self) -> None:
        """Remember for the next process what this one has learned, beside what others have; drop files that are gone.

        A full check drops, once, what it has not read itself: whoever comes next does not believe it either.

        Raises:
            WorkspaceError: the disk is full or the folder cannot be written.

        """
        if not self._has_changed:
            return
        own = dict(self._current)
        before = {} if self._ignores_stored else _read_index(self._index)
        others = {name: known for name, known in before.items() if name not in own}
        kept = {name: known for name, known in others.items() if (self._root / name).exists()}
        body = json.dumps({**kept, **own}, separators=(",", ":")).encode()
        write_atomic(self._index, _format_header(body) + body)
        self._has_changed = self._ignores_stored = False

    def _digest(self, path: Path, read_facts: Callable[[Path], tuple[str, int]], compute: Callable[[Path], str]) -> str:
        name = str(path).removeprefix(f"{self._root}{os.sep}")
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
    """What a file is like, and its newest time in nanoseconds."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(path)
    facts = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
    return facts, max(found.st_mtime_ns, found.st_ctime_ns)


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
    return {name: (facts, digest) for name, (facts, digest) in json.loads(body).items()}
