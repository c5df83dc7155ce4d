"""What serving saw of many trials at once: a few queries for dozens of them, whose sums the database makes.

Knows no check and no policy.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.database import Database
from components.rollout.observations import Observation
from components.rollout.policy import Answered, first_minute
from components.rollout.standings import Standing
from components.rollout.tables import COUNTS, LATENCIES, OBSERVATIONS

TRIALS_A_LOOK = 20
"""How many are looked at together: all that was seen of them is held in memory."""


_CELL = ("tenant", "version", "arm", "minute", "section")


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of one trial."""

    answered: Answered
    """All answers of the step of now."""
    shadowed: int
    """The challenger's answers in the whole trial."""
    agreed: int
    """Those of them that were the champion's, word for word."""
    evidence: Sequence[Observation]
    """In the order of sections and time."""


def look(database: Database, trials: Sequence[Standing], until: int) -> dict[str, Look]:
    """Tenant -> what was seen of its trial up to before a minute. Raises WorkspaceError."""
    if not trials:
        return {}
    with database.reading("what serving saw of the trials") as connection:
        asked = _asked(trials)
        totals = {(row.tenant, row.version): row for row in connection.execute(_totals(asked, until))}
        evidence = _evidence(connection, asked, until)
    return {one.tenant: _look(one, totals, evidence.get(one.tenant, [])) for one in trials}


def _look(trial: Standing, totals: dict[tuple[str, str], Any], evidence: list[Observation]) -> Look:
    ours, theirs = (totals.get((trial.tenant, version)) for version in (trial.challenger, trial.champion))
    answered = Answered(
        challenger=ours.answered if ours else 0,
        challenger_failed=ours.failed if ours else 0,
        champion=theirs.answered if theirs else 0,
        champion_failed=theirs.failed if theirs else 0,
    )
    return Look(answered, ours.requests if ours else 0, ours.agreed if ours else 0, evidence)


def _asked(trials: Sequence[Standing]) -> sql.CTE:
    """Versions on trial, with the minutes in which their trial and its step began."""
    rows = [
        (one.tenant, version, first_minute(one), int(one.step_started_s // 60))
        for one in trials
        for version in dict.fromkeys((one.champion, one.challenger))
        if version
    ]
    names = sql.column("tenant", sql.String), sql.column("version", sql.String)
    minutes = sql.column("since", sql.BigInteger), sql.column("step_since", sql.BigInteger)
    return sql.values(*names, *minutes, name="asked").data(rows).cte("asked")


def _of(table: sql.Table, asked: sql.CTE, until: int) -> sql.ColumnElement[bool]:
    same = sql.and_(table.c.tenant == asked.c.tenant, table.c.version == asked.c.version)
    return sql.and_(same, table.c.minute >= asked.c.since, table.c.minute < until)


def _totals(asked: sql.CTE, until: int) -> sql.Select[Any]:
    seen = OBSERVATIONS

    def total(column: sql.Column[Any], *, step: bool) -> sql.ColumnElement[int]:
        counted = sql.case((seen.c.minute >= asked.c.step_since, column), else_=0) if step else column
        return sql.cast(sql.func.sum(counted), sql.BigInteger)

    return (
        sql.select(
            seen.c.tenant,
            seen.c.version,
            total(seen.c.requests, step=True).label("answered"),
            total(seen.c.errors, step=True).label("failed"),
            total(seen.c.requests, step=False).label("requests"),
            total(seen.c.agreed, step=False).label("agreed"),
        )
        .join(asked, _of(seen, asked, until))
        .where(seen.c.section == 0)
        .group_by(seen.c.tenant, seen.c.version)
    )


def _evidence(connection: Connection, asked: sql.CTE, until: int) -> dict[str, list[Observation]]:
    """By tenant, of sections that began with or after its trial."""
    cells, slow = ([table.c[name] for name in _CELL] for table in (OBSERVATIONS, LATENCIES))
    objects = {"postgresql": sql.func.json_object_agg, "sqlite": sql.func.json_group_object}
    bundled = objects[connection.dialect.name](LATENCIES.c.bucket, LATENCIES.c.answers)

    def read(table: sql.Table, *columns: sql.ColumnElement[Any]) -> sql.Select[Any]:
        since = sql.and_(table.c.section > 0, table.c.section >= 60 * asked.c.since)
        return sql.select(*columns).join(asked, _of(table, asked, until)).where(since)

    latencies = {
        tuple(row[:-1]): row[-1] for row in connection.execute(read(LATENCIES, *slow, bundled).group_by(*slow))
    }
    found: dict[str, list[Observation]] = {}
    counts = [OBSERVATIONS.c[name] for name in COUNTS]
    in_order = OBSERVATIONS.c.section, OBSERVATIONS.c.minute, OBSERVATIONS.c.arm
    for row in connection.execute(read(OBSERVATIONS, *cells, *counts).order_by(*in_order)):
        cell = tuple(row[: len(_CELL)])
        named = dict(zip((*_CELL, *COUNTS), row, strict=True))
        found.setdefault(row.tenant, []).append(Observation(**named, latencies=_buckets(latencies.get(cell))))
    return found


def _buckets(bundle: Any) -> dict[int, int]:
    """Bucket -> answers: text from SQLite, read already by PostgreSQL's driver."""
    read = json.loads(bundle) if isinstance(bundle, str) else bundle or {}
    return {int(number): answers for number, answers in read.items()}
