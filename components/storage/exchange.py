"""The exchange between machines: folders in object storage that hold named sets of files, and small JSON values.

A set is its listing, written last, and objects named by digest. Each writer of a set makes objects of its own, so a
listing never names an object that another writer may delete before it replaces that listing. Knows no training.

    <folder>/<name>.json                        a value
    <folder>/<name>/listing.json                file name -> digest and size, and the writer's generation
    <folder>/<name>/<generation>/<sha256>       content of a file, or of all small ones
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from components.errors import DamagedError, WorkersError
from components.storage.json_text import parse_json
from components.storage.object_names import StoredObject
from components.storage.object_store import ObjectStore
from components.storage.set_files import fetch_set, send_set
from components.storage.set_listing import (
    ABANDONED_AFTER,
    LISTING,
    SetListing,
    check_file_names,
    find_abandoned,
    parse_listing,
)

_FETCH_TRIES = 5
"""Times that a set which is replaced during a fetch is read again."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}", re.ASCII)
_SUFFIX = ".json"
_OF_TENANTS = "tenants"
_DEPTHS = {_OF_TENANTS: 3, "shards": 2, "bases": 2}
"""Names in the key of a folder, by the first of them."""
_KEPT = "bases"


class ExchangeFolder:
    """One folder of the exchange. Every method raises WorkersError if the store refuses or does not answer."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        """Read nothing."""
        self._store, self._key = store, key

    def put(self, name: str, folder: Path, files: Iterable[str]) -> None:
        """Replace the set `name` by files of a folder, named relative to it; remove the objects that it had before.

        A reader sees the old set or the new. Nothing may change the files meanwhile.

        Raises:
            WorkersError: a file name is not allowed.
            WorkspaceError: a file cannot be read.
        """
        key, names = self._join(name), list(files)
        try:
            check_file_names(names)
        except ValueError as problem:
            wanted = f"to send files as {self._store.url}/{key}"
            raise WorkersError(wanted, str(problem), "rename the file: letters, digits and ._+=@,~-") from None
        former = self._read_intact_listing(name)
        listing = send_set(self._store, key, folder, names)
        self._store.write(f"{key}/{LISTING}", listing.to_bytes())
        if former:
            self._store.delete(*(f"{key}/{each}" for each in former.objects))

    def fetch(self, name: str, folder: Path) -> bool:
        """Put the files of the set `name` into a folder when all of them are verified; False if there is no such set.

        Files that are there already are not fetched; files of other names are left alone. One call at a time may fetch
        a set into a folder.

        Raises:
            DamagedError: the set is incomplete or altered; no file was put in place.
            WorkspaceError: the disk is full or a file cannot be written.
        """
        key = self._join(name)
        listing = self._read_listing(name)
        for tries_left in reversed(range(_FETCH_TRIES)):
            if listing is None:
                return False
            try:
                fetch_set(self._store, key, listing, folder, name)
            except DamagedError:
                replaced, listing = listing, self._read_listing(name)
                if not tries_left or listing == replaced:
                    raise
            else:
                break
        return True

    def has(self, name: str) -> bool:
        """Return whether there is a set `name` with all its objects; their content is not checked."""
        listing = self._read_intact_listing(name)
        if listing is None:
            return False
        key = self._join(name)
        return {f"{key}/{each}" for each in listing.objects} <= self._store.list_keys(f"{key}/").keys()

    def put_json(self, name: str, value: Any) -> None:
        """Write a value."""
        self._store.write(self._join(name) + _SUFFIX, json.dumps(value, indent=1).encode())

    def get_json(self, name: str) -> Any | None:
        """Return a value; None if there is none.

        Raises:
            DamagedError: it is not JSON.
        """
        key = self._join(name) + _SUFFIX
        content = self._store.read(key)
        try:
            return None if content is None else parse_json(content)
        except ValueError as problem:
            raise DamagedError(f"JSON in {self._store.url}/{key}", str(problem), "make the value again") from None

    def remove(self) -> None:
        """Delete every set and value of the folder."""
        _delete_keys(self._store, self._store.list_keys(f"{self._key}/"))

    def remove_abandoned(self, keys: Mapping[str, datetime], now: datetime) -> None:
        """Delete objects of writers that died before they wrote a listing; `keys` are all keys of the folder."""
        sets: dict[str, dict[str, datetime]] = defaultdict(dict)
        for key, written in keys.items():
            name, slash, rest = key.removeprefix(f"{self._key}/").partition("/")
            if slash:
                sets[name][rest] = written
        for name, objects in sets.items():
            if min(objects.values()) < now - ABANDONED_AFTER:
                listing = self._read_intact_listing(name)
                abandoned = find_abandoned(objects, listing.generation if listing else None, now)
                self._store.delete(*(f"{self._join(name)}/{each}" for each in abandoned))

    def _read_listing(self, name: str) -> SetListing | None:
        key = f"{self._join(name)}/{LISTING}"
        content = self._store.read(key)
        try:
            return None if content is None else parse_listing(content)
        except ValueError as problem:
            raise DamagedError(f"{self._store.url}/{key}", str(problem), "make the set again") from None

    def _read_intact_listing(self, name: str) -> SetListing | None:
        try:
            return self._read_listing(name)
        except DamagedError:
            return None

    def _join(self, name: str) -> str:
        return f"{self._key}/{_check_name(name)}"


@dataclass(frozen=True, slots=True)
class ExchangeEntry:
    """A folder with all its objects."""

    key: str
    keys: Mapping[str, datetime]
    """Of its objects -> when they were written."""
    size_bytes: int

    @property
    def written(self) -> datetime:
        """When something was written to it last."""
        return max(self.keys.values())

    @property
    def tenant(self) -> str:
        """The tenant whose it is; empty: it is none's."""
        first, _, rest = self.key.partition("/")
        return rest.partition("/")[0] if first == _OF_TENANTS else ""

    @property
    def may_go(self) -> bool:
        """Whether it is of a run, which ends."""
        return not self.key.startswith(f"{_KEPT}/")


class Exchange:
    """Folders in one object store."""

    def __init__(self, store: ObjectStore) -> None:
        """Read nothing."""
        self._store = store

    def open(self, *parts: str) -> ExchangeFolder:
        """Return a folder by its names, e.g. "tenants", tenant, run key; nothing is written.

        Raises:
            WorkersError: a name has odd characters.
        """
        return ExchangeFolder(self._store, "/".join(_check_name(part) for part in parts))

    def find_unused(self, keep_days: float) -> list[ExchangeEntry]:
        """Return the folders of tenants and shards to which nothing was written for `keep_days`.

        Ages are by the store's clock.
        """
        before = self._store.read_clock() - timedelta(days=keep_days)
        return [folder for folder in self._list_folders() if folder.may_go and folder.written < before]

    def remove_unused(self, keep_days: float, tenant: str | None = None) -> list[ExchangeEntry]:
        """Remove the folders that `find_unused` finds, or only those of a tenant; return them.

        Without a tenant, objects of writers that died are removed from the other folders.
        """
        now, removed = self._store.read_clock(), []
        for folder in self._list_folders():
            if tenant is not None and folder.tenant != tenant:
                continue
            if folder.may_go and folder.written < now - timedelta(days=keep_days):
                _delete_keys(self._store, folder.keys)
                removed.append(folder)
            elif tenant is None:
                ExchangeFolder(self._store, folder.key).remove_abandoned(folder.keys, now)
        if tenant is None:
            self._store.delete_leftovers(now - ABANDONED_AFTER)
        return removed

    def _list_folders(self) -> Iterator[ExchangeEntry]:
        for first, depth in _DEPTHS.items():
            folders: dict[str, dict[str, StoredObject]] = defaultdict(dict)
            for key, stored in self._store.list_stored(f"{first}/").items():
                folders["/".join(key.split("/")[:depth])][key] = stored
            for name, objects in folders.items():
                times = {key: one.written for key, one in objects.items()}
                yield ExchangeEntry(name, times, sum(one.size_bytes for one in objects.values()))


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        wanted = "a name in the exchange: letters, digits, '.', '_' and '-', up to 200, not beginning with '.' or '-'"
        raise WorkersError(wanted, repr(name[:200]), "correct the name")
    return name


def _delete_keys(store: ObjectStore, keys: Iterable[str]) -> None:
    """Delete listings and values before other objects, so that a set is absent rather than damaged."""
    first = [key for key in keys if key.endswith(_SUFFIX)]
    store.delete(*first)
    store.delete(*(set(keys) - set(first)))
