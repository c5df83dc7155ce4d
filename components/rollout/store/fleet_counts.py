"""Counts of what the database records of flows, in few queries whose size does not depend on the number of tenants.

Names no tenant. Knows no metric.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sql

from components.rollout.store.runs import RunEntry, read_run
from components.rollout.store.tables import CAUSES, LEDGER, ROLLOUT_STATES, RUN_TENANTS, RUNS
from components.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The retraining that ended last."""

    entry: RunEntry
    to_train: int
    """Tenants that the plan named for training."""
    shards: int
    workers: int
    longest_shard_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetCounts:
    """What happened, and what waits."""

    actions: Mapping[str, int]
    """Action of the ledger -> its entries of all time."""
    trials: Mapping[str, int]
    """Mode -> tenants on trial."""
    paused: int
    """Trials that are paused."""
    pinned: int
    """Tenants whose champion is pinned."""
    oldest_trial_s: float | None
    """Start of the oldest trial that is not paused, in seconds since 1970; None: there is none."""
    open_causes: int
    runs: int
    """Retrainings that ended."""
    last_run: LastRun | None
    open_run_began_at: str | None
    """Start of the newest retraining, if it has no end: it works, or was killed. UTC, ISO 8601."""


def read_fleet_counts(database: Database) -> FleetCounts:
    """Return the counts. Raises WorkspaceError."""
    own, count = ROLLOUT_STATES.c, sql.func.count()
    is_on_trial = own.challenger != ""
    with database.connect("counts of the fleet") as connection:
        actions = connection.execute(sql.select(LEDGER.c.action, count).group_by(LEDGER.c.action)).all()
        trials = connection.execute(sql.select(own.mode, count).where(is_on_trial).group_by(own.mode)).all()
        paused = connection.execute(sql.select(count).where(is_on_trial, own.paused_s > 0)).scalar_one()
        pinned = connection.execute(sql.select(count).where(own.pinned)).scalar_one()
        oldest = sql.select(sql.func.min(own.started_s)).where(is_on_trial, own.paused_s == 0)
        oldest_trial_s = connection.execute(oldest).scalar_one()
        causes = connection.execute(sql.select(count).where(CAUSES.c.closed_at == "")).scalar_one()
        has_ended = RUNS.c.ended_at != ""
        runs, last = connection.execute(sql.select(count, sql.func.max(RUNS.c.id)).where(has_ended)).one()
        newest = sql.select(RUNS.c.began_at, RUNS.c.ended_at).order_by(RUNS.c.id.desc()).limit(1)
        began_at, ended_at = connection.execute(newest).one_or_none() or ("", "")
    return FleetCounts(
        actions={str(action): int(number) for action, number in actions},
        trials={str(mode): int(number) for mode, number in trials},
        paused=int(paused),
        pinned=int(pinned),
        oldest_trial_s=oldest_trial_s,
        open_causes=int(causes),
        runs=int(runs),
        last_run=None if last is None else _read_run(database, last),
        open_run_began_at=began_at if began_at and not ended_at else None,
    )


def _read_run(database: Database, run: int) -> LastRun | None:
    entry = read_run(database, run)
    if entry is None:
        return None
    own = RUN_TENANTS.c
    is_trained = sql.and_(own.run == run, own.began_s > 0)
    to_train = sql.select(sql.func.count()).where(own.run == run, own.reason != "")
    spans = sql.select(
        sql.func.count(own.shard.distinct()),
        sql.func.count(own.worker.distinct()),
        sql.func.max(own.ended_s - own.began_s),
    )
    with database.connect("the shards of a run") as connection:
        planned = connection.execute(to_train).scalar_one()
        shards, workers, longest = connection.execute(spans.where(is_trained)).one()
    return LastRun(
        entry=entry,
        to_train=int(planned),
        shards=int(shards),
        workers=int(workers),
        longest_shard_seconds=float(longest or 0.0),
    )
