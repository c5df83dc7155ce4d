"""The listing of a set of files in the exchange: which object holds each file. Parsed as untrusted input; pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from components.storage.json_text import parse_json

LISTING = "listing.json"
INCOMING = ".incoming-"
"""Begins the name of the folder in which a set is gathered before its files are put in place."""
ABANDONED_AFTER = timedelta(days=1)
"""Age of a generation that no listing names, after which its writer is taken for dead."""

_SCHEMA = 1
_NAME_PART = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._+=@,~-]{1,255}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_GENERATION = re.compile(r"[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a set."""

    sha256: str
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class SetListing:
    """All files of a set, as one writer left them."""

    generation: str
    """Names the folder of this writer's objects, so that no two writers share any."""
    files: dict[str, StoredFile]

    def to_bytes(self) -> bytes:
        """Return the listing as JSON."""
        files = {name: {"sha256": file.sha256, "size": file.size} for name, file in sorted(self.files.items())}
        return json.dumps({"schema": _SCHEMA, "generation": self.generation, "files": files}, indent=1).encode()


def parse_listing(content: bytes) -> SetListing:
    """Return a listing whose names all stay inside the folder that they are written to.

    Raises:
        ValueError: the content is not a listing, or a name in it is not allowed.
    """
    values = parse_json(content)
    if not isinstance(values, dict) or values.get("schema") != _SCHEMA:
        raise ValueError(f"no listing of schema {_SCHEMA}")
    generation, files = values.get("generation"), values.get("files")
    if not (isinstance(generation, str) and _GENERATION.fullmatch(generation)) or not isinstance(files, dict):
        raise ValueError("no generation or no files")
    check_file_names(files)
    return SetListing(generation, {name: _parse_file(name, facts) for name, facts in files.items()})


def check_file_names(names: Iterable[str]) -> None:
    """Check that each name is a relative path without `..` or odd characters, and that no file is another's folder.

    Raises:
        ValueError: names the first that is not.
    """
    known = set(names)
    for name in known:
        parts = name.split("/")
        if not all(_NAME_PART.fullmatch(part) for part in parts) or parts[0].startswith(INCOMING):
            raise ValueError(f"file name {name[:200]!r}")
        if any("/".join(parts[:depth]) in known for depth in range(1, len(parts))):
            raise ValueError(f"file name {name[:200]!r}, below another file")


def find_abandoned(
    written: Mapping[str, datetime], current: str | None, replaced: str | None, now: datetime
) -> list[str]:
    """Return the keys of a set's objects that no reader needs, of all its keys with their time of writing.

    These are the generation that was replaced, and others than the current one that nobody has written to for a day: a
    younger one may belong to a writer that has not yet written its listing.

    Args:
        written: `<generation>/<sha256>`, or the listing's name -> time of writing.
        current: the generation that the listing names; None: there is no listing.
        replaced: the generation that the former listing named.
        now: by the same clock.
    """
    generations: dict[str, list[str]] = {}
    for key in written:
        generation, slash, _ = key.partition("/")
        if slash and generation != current:
            generations.setdefault(generation, []).append(key)
    return [
        key
        for generation, keys in generations.items()
        if generation == replaced or max(written[key] for key in keys) < now - ABANDONED_AFTER
        for key in keys
    ]


def _parse_file(name: str, facts: object) -> StoredFile:
    sha256, size = (facts.get("sha256"), facts.get("size")) if isinstance(facts, dict) else (None, None)
    if isinstance(sha256, str) and _SHA256.fullmatch(sha256) and isinstance(size, int) and size >= 0:
        return StoredFile(sha256, size)
    raise ValueError(f"no digest or size of {name[:200]!r}")
