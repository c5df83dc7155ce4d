"""The objects of dataset versions in DVC's cache and remotes, and putting copies of them into a cache.

Objects are named by their md5. Older versions may lack objects: those of tenants that were forgotten since. Does not
know where copies are kept.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from components.data.dvc_objects import DvcStore, open_stores, read_listing_entries
from components.errors import WorkspaceError
from components.storage.atomic_files import replace_when_complete

_READ_ONLY = 0o444
"""As DVC leaves the files of its cache."""


@dataclass(frozen=True, slots=True)
class DvcObject:
    """One object of a dataset version: a listing or a file."""

    md5: str
    """With `.dir` at the end for a listing."""
    path: Path | None
    """Where it is on this machine; None: only in a remote."""
    fetch: Callable[[Path], None] = field(compare=False)
    """Writes it to a path."""


@dataclass(frozen=True, slots=True)
class VersionObjects:
    """What the stores have of some dataset versions."""

    objects: list[DvcObject]
    missing: int
    """Objects of older versions that no store has."""


@contextmanager
def open_version_objects(workspace: Path, current: str, versions: Iterable[str]) -> Iterator[VersionObjects]:
    """Find the objects of the current and of other dataset versions; they can be read during the block.

    Raises:
        WorkspaceError: a store cannot be read, or lacks something of the current version.
    """
    with open_stores(workspace) as stores:
        find_store = _Finder(stores).find
        found: dict[str, DvcObject] = {}
        missing: set[str] = set()
        for version in dict.fromkeys([current, *versions]):
            names = [version]
            if find_store(version) is not None:
                names += [entry["md5"] for entry in read_listing_entries(stores, version)]
            for name in names:
                store = find_store(name)
                if store is not None:
                    found.setdefault(name, _make_object(store, name))
                elif version == current:
                    fix = "run `dvc add data` (or `dvc pull`), so that DVC's cache has the version in data.dvc"
                    raise WorkspaceError(f"the object {name[:12]} of the dataset version", "none in any store", fix)
                else:
                    missing.add(name)
        yield VersionObjects(list(found.values()), len(missing))


class _Finder:
    """Finds the first store that has an object; a remote is listed only if the stores before it lack one."""

    def __init__(self, stores: list[DvcStore]) -> None:
        self._stores = stores
        self._names: dict[str, set[str]] = {}

    def find(self, name: str) -> DvcStore | None:
        for store in self._stores:
            if store.name not in self._names:
                self._names[store.name] = set(store.object_db.all())
            if name in self._names[store.name]:
                return store
        return None


def add_to_cache(workspace: Path, copies: dict[str, Path]) -> None:
    """Put copies of objects (md5 -> file) into the workspace's DVC cache.

    Raises:
        WorkspaceError: the cache cannot be written.
    """
    with open_stores(workspace, with_remotes=False) as (cache,):
        for name, copy in copies.items():
            path = Path(cache.object_db.oid_to_path(name))
            if path.exists():
                continue
            with replace_when_complete(path) as temporary:
                shutil.copyfile(copy, temporary)
                temporary.chmod(_READ_ONLY)


def _make_object(store: DvcStore, name: str) -> DvcObject:
    address = store.object_db.oid_to_path(name)
    is_local = "local" in store.object_db.fs.protocol
    return DvcObject(name, Path(address) if is_local else None, partial(_fetch, store, address))


def _fetch(store: DvcStore, address: str, path: Path) -> None:
    store.object_db.fs.get_file(address, str(path))
