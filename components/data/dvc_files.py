"""Files below a folder of a DVC store, with times and sizes, which DVC's own local file system does not list.

Errors are those of the file systems: OSError and what fsspec's raise.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from components.errors import WorkspaceError


class StoreFile(NamedTuple):
    """What a store says of a file."""

    written_s: float
    """Seconds since 1970, by the store's clock."""
    size_bytes: int


def list_files(fs: Any, folder: str) -> dict[str, StoreFile]:
    """Return path -> file of all files below a folder, which need not exist. `fs` is a file system of DVC.

    Raises:
        WorkspaceError: the store does not say when a file was written.
    """
    if not _is_local(fs):
        fs.fs.invalidate_cache()
        found = fs.fs.find(folder, detail=True)
        return {str(path): StoreFile(_read_time(facts), int(facts["size"] or 0)) for path, facts in found.items()}
    paths = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    stats = {str(path): path.stat() for path in paths}
    return {path: StoreFile(facts.st_mtime, facts.st_size) for path, facts in stats.items()}


def write_file(fs: Any, path: str, content: bytes) -> None:
    """Write a file, with its folder."""
    if _is_local(fs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
    else:
        fs.fs.pipe_file(path, content)


def _is_local(fs: Any) -> bool:
    return "local" in fs.protocol


def _read_time(facts: Mapping[str, Any]) -> float:
    """Return when a file was written, as S3, Google Cloud Storage, Azure and others say it."""
    for name in ("LastModified", "updated", "last_modified", "mtime", "modified", "created"):
        value = facts.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    fix = "set retention.dvc_objects to cache"
    raise WorkspaceError("a DVC remote that says when its objects were written", f"{sorted(facts)}", fix)
