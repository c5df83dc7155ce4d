"""What serving saw of many trials at once: few queries for all of them, whose sums the database makes.

Knows no check and no policy.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from components.rollout.store.database import Database
from components.rollout.store.tables import COUNTS, LATENCIES, OBSERVATIONS
from components.rollout.types import Answered, Observation, Standing

_AT_ONCE = 500
"""Trials whose totals one query asks for."""
_CELL = ("tenant", "version", "arm", "minute", "section")


@dataclass(frozen=True, slots=True)
class Total:
    """All that was seen of one trial, in sums."""

    answered: Answered
    """Of the step of now."""
    shadowed: int
    """The challenger's answers in the whole trial."""
    agreed: int
    """Those of them that were the champion's, word for word."""
    seen: int
    """Answers and opinions of both versions in the whole trial."""


def totals(database: Database, trials: Sequence[Standing], until: int) -> dict[str, Total]:
    """Tenant -> what was seen of its trial up to before a minute. Raises WorkspaceError."""
    rows: dict[tuple[str, str], Any] = {}
    for start in range(0, len(trials), _AT_ONCE):
        with database.reading("what serving saw of the trials") as connection:
            found = connection.execute(_sums(_asked(trials[start : start + _AT_ONCE]), until))
            rows |= {(row.tenant, row.version): row for row in found}
    return {
        one.tenant: _total(*(rows.get((one.tenant, of)) for of in (one.challenger, one.champion))) for one in trials
    }


def evidence(database: Database, trials: Sequence[Standing], until: int) -> dict[str, list[Observation]]:
    """Tenant -> its evidence in sections that began with or after its trial, in the order of sections and time.

    All of it is held in memory. Raises WorkspaceError.
    """
    found: dict[str, list[Observation]] = {one.tenant: [] for one in trials}
    if not trials:
        return found
    asked = _asked(trials)
    cells, slow = ([table.c[name] for name in _CELL] for table in (OBSERVATIONS, LATENCIES))
    objects = {"postgresql": sql.func.json_object_agg, "sqlite": sql.func.json_group_object}
    in_order = OBSERVATIONS.c.section, OBSERVATIONS.c.minute, OBSERVATIONS.c.arm

    def read(table: sql.Table, *columns: sql.ColumnElement[Any]) -> sql.Select[Any]:
        since = sql.and_(table.c.section > 0, table.c.section >= 60 * asked.c.since)
        return sql.select(*columns).join(asked, _of(table, asked, until)).where(since)

    with database.reading("the evidence of the trials") as connection:
        bundled = objects[connection.dialect.name](LATENCIES.c.bucket, LATENCIES.c.answers)
        bundles = connection.execute(read(LATENCIES, *slow, bundled).group_by(*slow)).all()
        latencies = {tuple(row[:-1]): row[-1] for row in bundles}
        counts = [OBSERVATIONS.c[name] for name in COUNTS]
        for row in connection.execute(read(OBSERVATIONS, *cells, *counts).order_by(*in_order)):
            cell = tuple(row[: len(_CELL)])
            named = dict(zip((*_CELL, *COUNTS), row, strict=True))
            found[cell[0]].append(Observation(**named, latencies=_buckets(latencies.get(cell))))
    return found


def _asked(trials: Iterable[Standing]) -> sql.CTE:
    """Versions on trial, with the minutes in which their trial and its step began."""
    rows = [
        (one.tenant, version, one.first_minute, int(one.step_started_s // 60))
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


def _sums(asked: sql.CTE, until: int) -> sql.Select[Any]:
    cell = OBSERVATIONS.c

    def total(column: sql.ColumnElement[Any], *, step: bool = False) -> sql.ColumnElement[int]:
        counted = sql.case((cell.minute >= asked.c.step_since, column), else_=0) if step else column
        return sql.cast(sql.func.sum(counted), sql.BigInteger)

    return (
        sql.select(
            cell.tenant,
            cell.version,
            total(cell.requests, step=True).label("answered"),
            total(cell.errors, step=True).label("failed"),
            total(cell.requests).label("requests"),
            total(cell.agreed).label("agreed"),
            total(cell.requests + cell.liked + cell.disliked).label("seen"),
        )
        .join(asked, _of(OBSERVATIONS, asked, until))
        .where(cell.section == 0)
        .group_by(cell.tenant, cell.version)
    )


def _total(ours: Any, theirs: Any) -> Total:
    """From the rows of challenger and champion, where there are such."""
    answered = Answered(
        challenger=ours.answered if ours else 0,
        challenger_failed=ours.failed if ours else 0,
        champion=theirs.answered if theirs else 0,
        champion_failed=theirs.failed if theirs else 0,
    )
    seen = sum(row.seen for row in (ours, theirs) if row)
    return Total(answered, ours.requests if ours else 0, ours.agreed if ours else 0, seen)


def _buckets(bundle: Any) -> dict[int, int]:
    """Bucket -> answers: text from SQLite, read already by PostgreSQL's driver."""
    read = json.loads(bundle) if isinstance(bundle, str) else bundle or {}
    return {int(number): answers for number, answers in read.items()}
