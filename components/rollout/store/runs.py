"""Runs of retrainings: when they began and ended, and what each did with the tenants that had something to do.

A run that is killed stays without an end. Knows no flow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import sqlalchemy as sql

from components.rollout.store.tables import RUN_TENANTS, RUNS
from components.storage.database import Database

RunResult = Literal["promoted", "accepted", "skipped", "rejected", "failed"]
"""What became of a tenant; accepted: registered, and on trial or waiting; skipped: its budget is spent."""
RESULTS: tuple[RunResult, ...] = get_args(RunResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTenant:
    """One tenant in one run."""

    tenant: str
    result: RunResult
    reason: str = ""
    """Why it was trained; "": it was not, only evaluated, judged or rolled out."""
    detail: str = ""
    """Why it failed, was rejected or skipped, or the version that it got."""
    shard: str = ""
    worker: str = ""
    device: str = ""
    began_s: float = 0.0
    """When its shard began on the worker, in seconds since 1970; 0: not trained."""
    ended_s: float = 0.0
    device_seconds: float = 0.0
    """Of its training."""
    training_tokens: int = 0
    """Tokens of sources and targets that its training read, each time that it read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """One run."""

    id: int
    began_at: str
    """UTC, ISO 8601."""
    ended_at: str
    """"": still running, or stopped without a result."""
    trigger: str
    by: str
    dataset_version: str
    unchanged: int
    """Tenants with nothing to do."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Result -> number of tenants."""
    device_seconds: float = 0.0
    training_tokens: int = 0


def begin_run_entry(database: Database, trigger: str, by: str, at: str) -> int:
    """Record that a run begins; return its id. Raises WorkspaceError."""
    row = {"began_at": at, "ended_at": "", "trigger": trigger, "by": by, "dataset_version": "", "unchanged": 0}
    with database.transaction("to record a run") as connection:
        return int(connection.execute(sql.insert(RUNS).values(row).returning(RUNS.c.id)).scalar_one())


def end_run_entry(
    database: Database, run: int, at: str, dataset_version: str, unchanged: int, tenants: Iterable[RunTenant]
) -> None:
    """Record how a run ended. Raises WorkspaceError."""
    rows = [{"run": run, **asdict(one)} for one in tenants]
    values = {"ended_at": at, "dataset_version": dataset_version, "unchanged": unchanged}
    with database.transaction("to record the end of a run") as connection:
        connection.execute(sql.update(RUNS).where(RUNS.c.id == run).values(values))
        if rows:
            connection.execute(sql.insert(RUN_TENANTS), rows)


def read_runs(database: Database, limit: int, skip: int = 0) -> list[RunEntry]:
    """Return the runs that began last, newest first, without the newest `skip`. Raises WorkspaceError."""
    return _read_entries(database, sql.select(RUNS).order_by(RUNS.c.id.desc()).limit(limit).offset(skip))


def count_runs(database: Database) -> int:
    """Return the number of all runs. Raises WorkspaceError."""
    with database.connect("the number of runs") as connection:
        return int(connection.execute(sql.select(sql.func.count()).select_from(RUNS)).scalar_one())


def read_run(database: Database, run: int) -> RunEntry | None:
    """Return one run; None: there is none with this id. Raises WorkspaceError."""
    return next(iter(_read_entries(database, sql.select(RUNS).where(RUNS.c.id == run))), None)


def read_dataset_versions(database: Database, since_s: float) -> tuple[set[str], set[str]]:
    """Return the dataset versions of the runs that ended since a time, in seconds since 1970, and of the other ones.

    Raises WorkspaceError.
    """
    since = datetime.fromtimestamp(since_s, UTC).isoformat(timespec="seconds")
    query = sql.select(RUNS.c.dataset_version, RUNS.c.ended_at).where(RUNS.c.dataset_version != "")
    with database.connect("the dataset versions of runs") as connection:
        rows = connection.execute(query).all()
    recent = {version for version, ended_at in rows if ended_at >= since}
    return recent, {version for version, _ in rows} - recent


def _read_entries(database: Database, query: "sql.Select[Any]") -> list[RunEntry]:
    own = RUN_TENANTS.c
    with database.connect("the last runs") as connection:
        rows = connection.execute(query).mappings().all()
        ids = [row["id"] for row in rows]
        sums = sql.select(
            own.run, own.result, sql.func.count(), sql.func.sum(own.device_seconds), sql.func.sum(own.training_tokens)
        )
        counted = connection.execute(sums.where(own.run.in_(ids)).group_by(own.run, own.result)).all()
    entries = {row["id"]: RunEntry(**dict(row)) for row in rows}
    for run, result, count, seconds, tokens in counted:
        entry = entries[run]
        entries[run] = replace(
            entry,
            counts={**entry.counts, result: int(count)},
            device_seconds=entry.device_seconds + float(seconds),
            training_tokens=entry.training_tokens + int(tokens),
        )
    return list(entries.values())


def read_run_tenants(database: Database, run: int) -> list[RunTenant]:
    """Return what a run did with its tenants, by name. Raises WorkspaceError."""
    names = [column.name for column in RUN_TENANTS.c if column.name != "run"]
    query = sql.select(*(RUN_TENANTS.c[name] for name in names)).where(RUN_TENANTS.c.run == run)
    with database.connect("the tenants of a run") as connection:
        rows = connection.execute(query.order_by(RUN_TENANTS.c.tenant)).mappings().all()
    return [RunTenant(**dict(row)) for row in rows]


def find_run_tenant(database: Database, trigger: str, tenant: str) -> RunTenant | None:
    """Return what the last ended run that `trigger` started did with a tenant; None: none. Raises WorkspaceError."""
    query = sql.select(RUNS.c.id).where(RUNS.c.trigger == trigger, RUNS.c.ended_at != "").order_by(RUNS.c.id.desc())
    with database.connect("the run of a trigger") as connection:
        run = connection.execute(query.limit(1)).scalar()
    if run is None:
        return None
    return next((one for one in read_run_tenants(database, run) if one.tenant == tenant), None)
