"""Removes objects that nothing needs from DVC's cache and from the default remote; or only finds them.

A remote may be used by several workspaces, which cannot know what the others need: each leaves a mark in it, and one
with another's mark is refused. In a remote only objects go that this workspace knows to be its own.

The objects that are to go are written to a file before the first is removed, so that the next run finishes what a
killed process began. Times are those of the store's own clock. Knows DVC's object databases; does not know registries.
"""

import json
import secrets
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.data.dvc import read_default_remote
from components.data.dvc_files import list_files, write_file
from components.data.dvc_objects import DvcStore, open_stores
from components.data.dvc_unneeded import LISTING_SUFFIX, StoreContent, Unneeded, choose_unneeded
from components.errors import WorkspaceError
from components.storage.atomic_files import write_atomic
from components.storage.json_text import parse_json

JOURNAL = Path("var", "prune", "objects.json")
_MARKS = "prefixfleet"
"""Folder of a remote with a file for each workspace that uses it."""
_SECONDS_PER_DAY = 86_400.0
_OBJECTS_PER_CALL = 1000


@dataclass(frozen=True, slots=True)
class PrunedStore:
    """What was removed from a store, or would be."""

    name: str
    objects: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptObjects:
    """What must stay, and what may go."""

    needed: Collection[str]
    known: Collection[str]
    """Of this workspace: nothing else goes from a remote."""
    days: float
    """Objects that are younger stay."""


def mark_remote(workspace: Path, workspace_id: str) -> None:
    """Leave this workspace's mark in the default remote, if there is one and it has not been left there before.

    Raises:
        WorkspaceError: the remote cannot be written.
    """
    remote = read_default_remote(workspace)
    if remote is None:
        return
    stamp, text = workspace / JOURNAL.with_name("marked"), f"{workspace_id} {remote.options['url']}"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == text:
        return
    with open_stores(workspace) as stores:
        store = _find_remote(workspace, stores)
        if store is not None:
            _write_mark(store, workspace, workspace_id)
    write_atomic(stamp, text.encode())


def prune_objects(
    workspace: Path, place: Literal["cache", "remote"], workspace_id: str, kept: KeptObjects, *, dry_run: bool = False
) -> list[PrunedStore]:
    """Remove objects from the cache, and with `remote` first from the default remote. Holds DVC's lock meanwhile.

    A cache outside of the workspace is left as it is: others may use it.

    Raises:
        WorkspaceError: there is no remote, or other workspaces use it; a store cannot be read or written, or has a
            damaged listing; or another DVC command is at work.
    """
    with open_stores(workspace, is_locked=True) as stores:
        cache = stores[0]
        chosen: list[tuple[DvcStore, Collection[str] | None, float]] = []
        listed = {name for name in cache.object_db.all() if name.endswith(LISTING_SUFFIX)}
        if place == "remote":
            remote = _find_remote(workspace, stores)
            if remote is None:
                fix = "add one (`dvc remote add -d NAME URL`), or set retention.dvc_objects to cache"
                raise WorkspaceError("a default DVC remote", f"none in {workspace}", fix)
            _refuse_shared(remote, workspace_id)
            now_s = _read_clock(remote, workspace, workspace_id, dry_run=dry_run)
            chosen.append((remote, {*kept.known, *listed}, now_s))
        if Path(cache.object_db.path).resolve().is_relative_to(workspace.resolve()):
            chosen.append((cache, None, _read_local_clock(workspace)))
        journal = _read_journal(workspace)
        plans = [
            (store, *_plan(store, kept, known, now_s, journal.get(store.name, ()))) for store, known, now_s in chosen
        ]
        if not dry_run:
            begun = {store.name: plan.files for store, plan, _ in plans if plan.files or plan.listings}
            if begun:
                write_atomic(workspace / JOURNAL, json.dumps(begun).encode())
            for store, plan, _ in plans:
                _remove(store, plan)
            (workspace / JOURNAL).unlink(missing_ok=True)
        return [
            PrunedStore(store.name, len(names), sum(sizes[name] for name in names))
            for store, plan, sizes in plans
            if (names := [*plan.listings, *plan.files])
        ]


def _plan(
    store: DvcStore, kept: KeptObjects, known: Collection[str] | None, now_s: float, begun: Collection[str]
) -> tuple[Unneeded, Mapping[str, int]]:
    """Return what may go, and the size of every object."""
    written_s: dict[str, float] = {}
    sizes: dict[str, int] = {}
    database = store.object_db
    for path, facts in list_files(database.fs, database.path).items():
        with suppress(ValueError):  # no object, such as a temporary file
            name = database.path_to_oid(path)
            written_s[name], sizes[name] = facts
    listings = {name: _read_listing(store, name) for name in written_s if name.endswith(LISTING_SUFFIX)}
    before_s = now_s - kept.days * _SECONDS_PER_DAY
    content = StoreContent(written_s, listings)
    return choose_unneeded(content, kept.needed, before_s, known=known, begun=begun), sizes


def _read_listing(store: DvcStore, name: str) -> list[str]:
    path = store.object_db.oid_to_path(name)
    try:
        return [str(entry["md5"]) for entry in parse_json(store.object_db.fs.cat_file(path))]
    except (ValueError, TypeError, KeyError) as problem:
        got, fix = f"a damaged one at {path} ({problem})", "delete that file, then run `dvc fetch` or `dvc push`"
        raise WorkspaceError(f"readable listings in the {store.name}", got, fix) from None


def _remove(store: DvcStore, plan: Unneeded) -> None:
    from dvc_data.hashfile.db import get_index

    database = store.object_db
    for names in (plan.listings, plan.files):
        for begin in range(0, len(names), _OBJECTS_PER_CALL):
            _delete(database, names[begin : begin + _OBJECTS_PER_CALL])
    if plan.listings or plan.files:
        get_index(database).clear()  # DVC's memory of what is in a remote


def _delete(database: Any, names: Collection[str]) -> None:
    database.fs.remove([database.oid_to_path(name) for name in names])


def _find_remote(workspace: Path, stores: Iterable[DvcStore]) -> DvcStore | None:
    remote = read_default_remote(workspace)
    return next((store for store in stores if remote and store.name == f"DVC remote {remote.name}"), None)


def _get_mark_folder(remote: DvcStore) -> str:
    database = remote.object_db
    return str(database.fs.join(database.fs.parent(database.fs.parent(database.path)), _MARKS))


def _write_mark(remote: DvcStore, workspace: Path, name: str) -> str:
    fs = remote.object_db.fs
    path = str(fs.join(_get_mark_folder(remote), f"{name}.json"))
    write_file(fs, path, json.dumps({"workspace": str(workspace.resolve())}).encode())
    return path


def _refuse_shared(remote: DvcStore, workspace_id: str) -> None:
    fs = remote.object_db.fs
    others = sorted(
        path for path in list_files(fs, _get_mark_folder(remote)) if fs.name(path) != f"{workspace_id}.json"
    )
    if others:
        got = f"marks of {len(others)} others, such as {others[0]}: {fs.cat_file(others[0]).decode(errors='replace')}"
        fix = (
            "give each workspace a remote of its own, or set retention.dvc_objects to cache; if the other workspace "
            "is gone, delete its mark"
        )
        raise WorkspaceError(f"a remote that this workspace alone uses ({remote.name})", got, fix)


def _read_clock(remote: DvcStore, workspace: Path, workspace_id: str, *, dry_run: bool) -> float:
    """Return the remote's present time: that of this workspace's mark, which is written again, or of a probe."""
    fs = remote.object_db.fs
    path = _write_mark(remote, workspace, f"probe-{secrets.token_hex(4)}" if dry_run else workspace_id)
    try:
        return list_files(fs, _get_mark_folder(remote))[path].written_s
    finally:
        if dry_run:
            fs.remove([path])


def _read_local_clock(workspace: Path) -> float:
    """Return the present time by the clock of the workspace's disk."""
    probe = workspace / JOURNAL.parent / "clock"
    write_atomic(probe, b"")
    now_s = probe.stat().st_mtime
    probe.unlink()
    return now_s


def _read_journal(workspace: Path) -> dict[str, list[str]]:
    try:
        return dict(parse_json((workspace / JOURNAL).read_bytes()))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):  # not written by this code: the objects stay
        return {}
