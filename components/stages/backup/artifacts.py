"""MLflow's artifacts in a backup: which files of which locations, and under which names. Copies nothing itself."""

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from components.errors import WorkspaceError
from components.registry.manifest import MANIFEST_FILE, TENSORS_FILE
from components.registry.mlflow.fetching import FILES_FOLDER
from components.registry.mlflow.store_places import StoreLocation, StorePlaces
from components.storage.backups.sender import FileSource
from components.storage.object_store import ObjectStore

PART = "artifacts"
"""First part of the names of these files."""
_DIGITS = 12


def name_location(uri: str) -> str:
    """Return the name under which the files of a location are in a backup."""
    return f"{PART}/{hashlib.sha256(uri.encode()).hexdigest()[:_DIGITS]}"


def list_artifacts(places: StorePlaces) -> Iterator[FileSource]:
    """Yield the files of all locations; files of runs never change. Raises WorkersError, WorkspaceError."""
    for location in places.locations:
        start = name_location(location.uri)
        yield from _list_remote(location, start) if "://" in location.url else _list_local(Path(location.url), start)


def find_incomplete(places: StorePlaces, names: set[str]) -> list[str]:
    """Return the registered versions (`<model>/<version>`) whose files are not among the names of a backup."""
    return [version for version, source in places.sources.items() if not _has_files(places, source, names)]


def _has_files(places: StorePlaces, source: str, names: set[str]) -> bool:
    for location in places.locations:
        if source.startswith(f"{location.uri}/"):
            folder = f"{name_location(location.uri)}/{source.removeprefix(f'{location.uri}/')}/{FILES_FOLDER}"
            return {f"{folder}/{TENSORS_FILE}", f"{folder}/{MANIFEST_FILE}"} <= names
    return False


def _list_local(folder: Path, start: str) -> Iterator[FileSource]:
    def refuse(problem: OSError) -> None:
        if not isinstance(problem, FileNotFoundError):
            got = f"{problem.strerror} ({problem.filename})"
            raise WorkspaceError(f"to read MLflow's artifacts in {folder}", got, "correct the permissions") from problem

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            yield FileSource(f"{start}/{path.relative_to(folder)}", path, is_constant=True, may_vanish=True)


def _list_remote(location: StoreLocation, start: str) -> Iterator[FileSource]:
    store = ObjectStore(location.url)
    for key in sorted(store.list_keys()):
        yield FileSource(f"{start}/{key}", Path(key), fetch=partial(_fetch, store, key), is_constant=True)


def _fetch(store: ObjectStore, key: str, path: Path) -> None:
    if not store.download(key, path):
        raise WorkspaceError(f"{store.url}/{key}", "no such object any more", "run again")
