"""Looks for deliveries in the watched folder or bucket; each complete one is taken once and opens a cause.

The order keeps a delivery from being lost or taken twice, wherever the process is killed: its files are fetched aside;
one transaction records them as taken and opens the cause; then they are placed in the drops folder. The next look
places what a killed one left aside, if its cause was recorded, and otherwise fetches it again. The source is only read.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from components.config.triggers import ArrivalConfig
from components.data import arrivals
from components.errors import ConfigError, WorkersError
from components.rollout.store.arrivals import SeenFile, read_seen_files, write_seen_files
from components.rollout.store.causes import Cause, has_cause, open_causes
from components.stages.progress import join_abbreviated, log_info, log_warning
from components.stages.triggers.debounce import find_ready_files, mark_taken, observe_files
from components.stages.workspace import Workspace
from components.storage.object_store import ObjectStore

_LOCK_WAIT_S = 60.0


@dataclass
class ArrivalLook:
    """What one look found."""

    opened: list[Cause] = field(default_factory=list)
    """New causes, one for each delivery that was taken."""
    waiting: list[str] = field(default_factory=list)
    """Tenants whose files may still be written."""
    strays: list[str] = field(default_factory=list)
    """Files that belong to no tenant; they stay where they are."""


def look_for_arrivals(workspace: Workspace, now_s: Callable[[], float] = time.time) -> ArrivalLook:
    """Take every complete delivery into the drops folder, and open a cause for each. Nothing without a configuration.

    `now_s` returns seconds since 1970. Looks at the same time wait for each other.

    Raises:
        ConfigError: `triggers.arrival.source` is no URL or folder that can be watched.
        WorkersError: the watched bucket does not answer.
        WorkspaceError: the disk is full; the database does not answer; or another look takes too long.
    """
    config, look = workspace.params.triggers.arrival, ArrivalLook()
    if config is None:
        return look
    store = _open_source(workspace, config)
    # Whoever adds lines to drops holds the lock on corrections.
    with workspace.database.lock("arrivals", wait_s=_LOCK_WAIT_S):
        if config.source is not None:
            with workspace.database.lock("corrections", wait_s=_LOCK_WAIT_S):
                _place_fetched(workspace)
        deliveries, look.strays = arrivals.list_deliveries(store)
        known = read_seen_files(workspace.database, _name_source(store))
        for tenant in sorted({*deliveries, *known}):
            before = known.get(tenant, {})
            files = observe_files(before, deliveries.get(tenant, {}), now_s())
            ready = find_ready_files(files, now_s(), config.quiet_seconds)
            if ready:
                look.opened += _take(workspace, store, tenant, files, ready, before)
            else:
                with workspace.database.transaction("to record the files that arrived") as connection:
                    write_seen_files(connection, _name_source(store), tenant, files, before)
                look.waiting += [tenant] if any(one.is_new for one in files.values()) else []
    if look.strays:
        names = join_abbreviated(look.strays)
        log_warning(f"in {store.url}: {names}: no file of a tenant; files are named <tenant>/<split>.jsonl")
    return look


def find_source_files(workspace: Workspace, tenant: str) -> list[str]:
    """Return the tenant's files in a watched bucket or folder apart from data.drops, each in words.

    They would be taken as a new delivery after the tenant is forgotten. Raises as `look_for_arrivals`.
    """
    config = workspace.params.triggers.arrival
    if config is None or config.source is None:
        return []
    store = _open_source(workspace, config)
    return [f"{store.url}/{key}" for key in sorted(store.list_keys(f"{tenant}/"))]


def _open_source(workspace: Workspace, config: ArrivalConfig) -> ObjectStore:
    source = config.source
    if source is None:
        source = str(workspace.drops)
    url = source if "://" in source else (workspace.root / source).resolve().as_uri()
    try:
        return ObjectStore(url)
    except WorkersError as problem:
        fix = "write triggers.arrival.source in params.yaml as s3://bucket/folder, gs://bucket/folder or a folder"
        raise ConfigError(problem.wanted, problem.got, fix) from None


def _name_source(store: ObjectStore) -> str:
    return hashlib.sha256(store.url.encode()).hexdigest()


def _take(
    workspace: Workspace,
    store: ObjectStore,
    tenant: str,
    files: Mapping[str, SeenFile],
    ready: list[str],
    before: Mapping[str, SeenFile],
) -> list[Cause]:
    """Take a tenant's complete delivery; return its cause, or nothing if a file has changed meanwhile."""
    listing = {name: files[name].modified for name in ready}
    own = workspace.params.triggers.arrival is not None and workspace.params.triggers.arrival.source is None
    folder = workspace.drops / tenant if own else arrivals.fetch_delivery(store, workspace.drops, tenant, listing)
    if folder is None:
        return []  # the next look sees the change
    digest = arrivals.compute_delivery_digest(folder, listing)
    cause = _make_cause(tenant, digest, ready)
    with workspace.database.transaction("to record a delivery") as connection:
        opened = open_causes(connection, [cause])
        write_seen_files(connection, _name_source(store), tenant, mark_taken(files, ready), before)
    if not own:
        with workspace.database.lock("corrections", wait_s=_LOCK_WAIT_S):
            arrivals.place_delivery(folder, workspace.drops / tenant)
    if opened:
        log_info(f"{tenant}: took a delivery ({arrivals.describe_files(ready)})")
    return opened


def _place_fetched(workspace: Workspace) -> None:
    """Place the deliveries that a killed look has recorded; discard those that it has only fetched."""
    for folder, tenant, digest in arrivals.list_fetched(workspace.drops):
        if has_cause(workspace.database, tenant, _make_id(digest)):
            arrivals.place_delivery(folder, workspace.drops / tenant)
        else:
            arrivals.discard_delivery(folder)


def _make_cause(tenant: str, digest: str, names: list[str]) -> Cause:
    why = f"new data arrived ({arrivals.describe_files(names)}, delivery {digest[:12]})"
    return Cause(tenant=tenant, id=_make_id(digest), kind="arrival", why=why)


def _make_id(digest: str) -> str:
    return f"arrival-{digest}"
