"""Runs of retrainings: when they began and ended, and what each did with the tenants that had something to do.

A run that is killed stays without an end. Knows no flow.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import sqlalchemy as sql
from sqlalchemy.engine import Connection

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
    bleu_before: float | None = None
    """Of what its prefix was compared with, in points; None: it was not evaluated."""
    bleu_after: float | None = None
    rouge_before: float | None = None
    """ROUGE-L."""
    rouge_after: float | None = None
    compared_with: str = ""
    """Whose scores those before are: the champion's version, or "base" alone."""


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
    code_version: str = ""
    """"": unknown, as in runs of older releases."""
    base_digest: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Result -> number of tenants."""
    device_seconds: float = 0.0
    training_tokens: int = 0


def begin_run_entry(database: Database, trigger: str, by: str, at: str, code_version: str = "") -> int:
    """Record that a run begins; return its id. Raises WorkspaceError."""
    row = {"began_at": at, "ended_at": "", "trigger": trigger, "by": by, "dataset_version": "", "unchanged": 0}
    row |= {"code_version": code_version, "base_digest": ""}
    with database.transaction("to record a run") as connection:
        return int(connection.execute(sql.insert(RUNS).values(row).returning(RUNS.c.id)).scalar_one())


def end_run_entry(
    database: Database,
    run: int,
    at: str,
    dataset_version: str,
    unchanged: int,
    tenants: Iterable[RunTenant],
    base_digest: str = "",
    also: Callable[[Connection], None] = lambda _: None,
) -> None:
    """Record how a run ended; `also` writes something in the same transaction. Raises WorkspaceError."""
    rows = [{"run": run, **asdict(one)} for one in tenants]
    values = {"ended_at": at, "dataset_version": dataset_version, "unchanged": unchanged, "base_digest": base_digest}
    with database.transaction("to record the end of a run") as connection:
        connection.execute(sql.update(RUNS).where(RUNS.c.id == run).values(values))
        if rows:
            connection.execute(sql.insert(RUN_TENANTS), rows)
        also(connection)


def read_run_start(connection: Connection, run: int) -> RunEntry:
    """Return a run as it was recorded so far, within a transaction."""
    row = connection.execute(sql.select(RUNS).where(RUNS.c.id == run)).mappings().one()
    return RunEntry(**dict(row))


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


def read_run_before(database: Database, run: int) -> RunEntry | None:
    """Return the last run before one that has an end; None: there is none. Raises WorkspaceError."""
    query = sql.select(RUNS).where(RUNS.c.id < run, RUNS.c.ended_at != "").order_by(RUNS.c.id.desc()).limit(1)
    return next(iter(_read_entries(database, query)), None)


def find_newest_run(database: Database) -> int | None:
    """Return the id of the last run that has an end; None: there is none. Raises WorkspaceError."""
    with database.connect("the last run") as connection:
        newest = connection.execute(sql.select(sql.func.max(RUNS.c.id)).where(RUNS.c.ended_at != "")).scalar_one()
    return None if newest is None else int(newest)


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
