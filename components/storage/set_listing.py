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
    """One file of a set, or the pack that holds its small files one after another."""

    sha256: str
    size: int
    """Bytes."""
    offset: int | None = None
    """Bytes before it in the pack; None: it is an object of its own."""


@dataclass(frozen=True, slots=True)
class SetListing:
    """All files of a set, as one writer left them."""

    generation: str
    """Names the folder of this writer's objects, so that no two writers share any."""
    files: dict[str, StoredFile]
    pack: StoredFile | None = None

    @property
    def objects(self) -> list[str]:
        """The objects of the set: `<generation>/<sha256>`."""
        own = [file for file in self.files.values() if file.offset is None]
        return sorted({f"{self.generation}/{file.sha256}" for file in [*own, *([self.pack] if self.pack else [])]})

    def to_bytes(self) -> bytes:
        """Return the listing as JSON."""
        values = {"schema": _SCHEMA, "generation": self.generation}
        files = {name: _describe(file) for name, file in sorted(self.files.items())}
        return json.dumps({**values, "pack": self.pack and _describe(self.pack), "files": files}, indent=1).encode()


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
    pack = None if values.get("pack") is None else _parse_file("the pack", values["pack"], None)
    return SetListing(generation, {name: _parse_file(name, facts, pack) for name, facts in files.items()}, pack)


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


def find_abandoned(written: Mapping[str, datetime], current: str | None, now: datetime) -> list[str]:
    """Return the keys of a set's objects that no reader needs: their writer died, or was overtaken by another.

    These are all generations but the current one to which nobody has written for a day. A younger one may belong to a
    writer that has not yet written its listing.

    Args:
        written: `<generation>/<sha256>`, or the listing's name -> time of writing.
        current: the generation that the listing names; None: there is no listing.
        now: by the same clock.
    """
    generations: dict[str, list[str]] = {}
    for key in written:
        generation, slash, _ = key.partition("/")
        if slash and generation != current:
            generations.setdefault(generation, []).append(key)
    return [
        key
        for keys in generations.values()
        if max(written[key] for key in keys) < now - ABANDONED_AFTER
        for key in keys
    ]


def _describe(file: StoredFile) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"sha256": file.sha256, "size": file.size}
    return facts if file.offset is None else {**facts, "offset": file.offset}


def _parse_file(name: str, facts: object, pack: StoredFile | None) -> StoredFile:
    values = facts if isinstance(facts, dict) else {}
    sha256, size, offset = values.get("sha256"), values.get("size"), values.get("offset")
    if isinstance(sha256, str) and _SHA256.fullmatch(sha256) and isinstance(size, int) and size >= 0:
        if offset is None:
            return StoredFile(sha256, size)
        if isinstance(offset, int) and pack and 0 <= offset <= pack.size - size:
            return StoredFile(sha256, size, offset)
    raise ValueError(f"no digest, size or place of {name[:200]!r}")
