"""Opens digest caches on a folder, and forges their index to show whether an entry is used."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from components.data.digest_cache import MIN_AGE_NS, DigestCache

FORGED = "0" * 64


def far_future_ns() -> int:
    """Return a time at which every file is old enough to be cached."""
    return time.time_ns() + 10 * MIN_AGE_NS


def open_cache(root: Path, *, full_check: bool = False, now_ns: Callable[[], int] = far_future_ns) -> DigestCache:
    return DigestCache(root / "var" / "digests", root, full_check=full_check, now_ns=now_ns)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read_index(root: Path) -> dict[str, tuple[str, str]]:
    return json.loads((root / "var" / "digests").read_bytes().splitlines()[1])


def forge_index(root: Path) -> None:
    """Replace every digest in the index by FORGED, with a valid checksum: a cache that uses an entry returns FORGED."""
    index = root / "var" / "digests"
    head, body = index.read_bytes().splitlines()
    forged = json.dumps({name: (facts, FORGED) for name, (facts, _) in read_index(root).items()}).encode()
    old, new = (hashlib.sha256(text).hexdigest().encode() for text in (body, forged))
    index.write_bytes(head.replace(old, new) + b"\n" + forged)
