"""What a backup says of itself: a manifest with counts and facts, and a listing of its files by name.

The manifest is JSON with its own digest. The listing is compressed JSON, an object like any other. Both are checked
when they are read: they may come from another release, or from a damaged disk. Knows no store.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any

from components.errors import BackupError
from components.storage.json_text import parse_json

SCHEMA = 1
"""Of manifests and listings; a release reads those of its own schema and of older ones."""
_DIGEST = "sha256"
_CHOOSE = "choose an earlier backup: `prefixfleet backup TARGET --list` shows all"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a backup."""

    sha256: str
    size: int
    is_executable: bool = False


@dataclass(frozen=True, slots=True)
class PartCount:
    """How much one part of a backup has."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """One complete and verified backup."""

    id: str
    """When it began, in UTC; newer backups have larger ids."""
    source: str
    """Id of what was copied: a store holds backups of one source."""
    product_version: str
    began_at: str
    ended_at: str
    listing: str
    """Digest of the listing."""
    parts: Mapping[str, PartCount]
    """First part of the names -> how much there is."""
    new_bytes: int
    """What this backup added to the store."""
    facts: Mapping[str, Any]
    """What a restore needs to know beside the files."""
    schema: int = SCHEMA

    @property
    def file_count(self) -> int:
        """All its files."""
        return sum(part.files for part in self.parts.values())

    @property
    def byte_count(self) -> int:
        """The size of all its files; equal files count each time."""
        return sum(part.bytes for part in self.parts.values())

    def to_bytes(self) -> bytes:
        """Return its JSON, with the digest of everything else in it."""
        values = asdict(self)
        return json.dumps({**values, _DIGEST: _digest_values(values)}, indent=1, sort_keys=True).encode()


def parse_manifest(content: bytes, where: str) -> BackupManifest:
    """Return a manifest that was read at `where`.

    Raises:
        BackupError: a newer release wrote it, or it is damaged.
    """
    wanted = f"the manifest of a backup at {where}"
    try:
        values = parse_json(content)
        schema = values["schema"]
    except (ValueError, KeyError, TypeError):
        raise BackupError(wanted, "a damaged file", _CHOOSE) from None
    if not isinstance(schema, int) or schema > SCHEMA:
        got = f"schema {schema}, written by PrefixFleet {values.get('product_version', 'of a later version')}"
        fix = "upgrade PrefixFleet, or choose an earlier backup"
        raise BackupError(f"{wanted}, of schema {SCHEMA} or older", got, fix)
    if values.pop(_DIGEST, "") != _digest_values(values) or values.keys() != {
        one.name for one in fields(BackupManifest)
    }:
        raise BackupError(wanted, "a damaged file: it does not match its digest", _CHOOSE)
    parts = {name: PartCount(**count) for name, count in values["parts"].items()}
    return BackupManifest(**{**values, "parts": parts})


def format_listing(files: Mapping[str, StoredFile]) -> bytes:
    """Return a listing; equal files give equal bytes."""
    rows = [[name, one.sha256, one.size, int(one.is_executable)] for name, one in sorted(files.items())]
    return gzip.compress(json.dumps(rows, separators=(",", ":")).encode(), compresslevel=6, mtime=0)


def parse_listing(content: bytes, where: str) -> dict[str, StoredFile]:
    """Return the files of a listing by name; every name stays below the folder into which it is written.

    Raises:
        BackupError: it is damaged, or has a name that leads elsewhere.
    """
    try:
        rows = parse_json(gzip.decompress(content))
        files = {str(name): StoredFile(str(sha256), int(size), bool(flag)) for name, sha256, size, flag in rows}
    except (ValueError, TypeError, OSError, EOFError, zlib.error) as problem:
        raise BackupError(f"the listing of a backup at {where}", f"a damaged file ({problem})", _CHOOSE) from None
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name:
            raise BackupError("names of files below one folder in a backup", f"{name!r} in {where}", _CHOOSE)
    return files


def count_parts(files: Mapping[str, StoredFile]) -> dict[str, PartCount]:
    """Return how much each part has."""
    counts: dict[str, PartCount] = {}
    for name, one in files.items():
        part = name.partition("/")[0]
        before = counts.get(part, PartCount(0, 0))
        counts[part] = PartCount(before.files + 1, before.bytes + one.size)
    return counts


def _digest_values(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
