"""Digests of files that need not be read again: what a file was like when it was read last, and its sha256.

    var/digests     a line with the sha256 of the next, which is JSON: path -> ["bytes mtime ctime inode", sha256]

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

from components.data.files import write_atomic

SETTLED_NS = 2_000_000_000
"""How long both times of a file must be past before its digest is remembered: the coarsest tick in use, FAT's."""

_FORMAT = "prefixfleet digests 1"


class Digests:
    """The sha256 of files, read only where they may have changed; several threads may ask."""

    def __init__(
        self, index: Path, root: Path, *, full_check: bool = False, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Read what is remembered in `index` of files under `root`; with `full_check` believe none of it."""
        self._index, self._root, self._now_ns = index, root, now_ns
        self._before = {} if full_check else _read(index)
        self._today: dict[str, tuple[str, str]] = {}
        self._learned = False

    def of(self, path: Path) -> str | None:
        """Hex sha256 of a file's bytes; None where there is no such file."""
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                return None
            name = str(path).removeprefix(f"{self._root}{os.sep}")
            facts = _facts(found)
            known = self._today.get(name) or self._before.get(name)
            if known is None or known[0] != facts:
                return self._learn(name, path)
            self._today[name] = known
            return known[1]
        except (FileNotFoundError, NotADirectoryError):
            return None

    def save(self) -> None:
        """Remember for the next process what this one has learned, beside what others have; drop files that are gone.

        Raises:
            WorkspaceError: the disk is full or the folder cannot be written.

        """
        if not self._learned:
            return
        own = dict(self._today)
        others = {name: known for name, known in _read(self._index).items() if name not in own}
        kept = {name: known for name, known in others.items() if (self._root / name).exists()}
        body = json.dumps({**kept, **own}, separators=(",", ":")).encode()
        write_atomic(self._index, _head(body) + body)
        self._learned = False

    def _learn(self, name: str, path: Path) -> str:
        started_ns = self._now_ns()
        with path.open("rb") as stream:
            before = os.fstat(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            after = os.fstat(stream.fileno())
        self._today.pop(name, None)
        settled = max(before.st_mtime_ns, before.st_ctime_ns) + SETTLED_NS < started_ns
        if settled and _facts(before) == _facts(after):
            self._today[name] = (_facts(after), digest)
            self._learned = True
        return digest


def _facts(found: os.stat_result) -> str:
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"


def _head(body: bytes) -> bytes:
    return f"{_FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode()


def _read(index: Path) -> dict[str, tuple[str, str]]:
    try:
        content = index.read_bytes()
    except OSError:
        return {}
    head, line, body = content.partition(b"\n")
    if head + line != _head(body):
        return {}
    return {name: (facts, digest) for name, (facts, digest) in json.loads(body).items()}
