"""Reads the totals and the evidence of many trials at once, in few queries; the database computes the sums.

Knows no check and no policy.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from components.rollout.store.tables import COUNT_COLUMNS, LATENCIES, OBSERVATIONS
from components.rollout.types import Observation, RolloutState, StepAnswers
from components.storage.database import Database

_TRIALS_PER_QUERY = 500
"""A query has four parameters a trial, and SQLite a limit of parameters."""
_KEY_COLUMNS = ("tenant", "version", "arm", "minute", "section")


@dataclass(frozen=True, slots=True)
class TrialTotals:
    """Sums over one trial."""

    step_answers: StepAnswers
    """Of the current step."""
    shadowed: int
    """The challenger's answers in the whole trial."""
    agreed: int
    """The challenger's answers that equalled the champion's, word for word."""
    seen: int
    """Answers and opinions on both versions in the whole trial."""


def read_totals(database: Database, trials: Sequence[RolloutState], until_minute: int) -> dict[str, TrialTotals]:
    """Return tenant -> the totals of its trial before a minute. Raises WorkspaceError."""
    rows: dict[tuple[str, str], Any] = {}
    for start in range(0, len(trials), _TRIALS_PER_QUERY):
        with database.connect("the totals of the trials") as connection:
            on_trial = _make_trials_table(trials[start : start + _TRIALS_PER_QUERY])
            sums = connection.execute(_select_sums(on_trial, until_minute))
            rows |= {(row.tenant, row.version): row for row in sums}
    return {
        one.tenant: _make_totals(*(rows.get((one.tenant, of)) for of in (one.challenger, one.champion)))
        for one in trials
    }


def read_evidence(
    database: Database, trials: Sequence[RolloutState], until_minute: int
) -> dict[str, list[Observation]]:
    """Return tenant -> the evidence of its trial before a minute, in order of sections and time.

    All of it is held in memory. Raises WorkspaceError.
    """
    evidence: dict[str, list[Observation]] = {one.tenant: [] for one in trials}
    for start in range(0, len(trials), _TRIALS_PER_QUERY):
        _add_evidence(database, evidence, trials[start : start + _TRIALS_PER_QUERY], until_minute)
    return evidence


def _add_evidence(
    database: Database, evidence: dict[str, list[Observation]], trials: Sequence[RolloutState], until_minute: int
) -> None:
    on_trial = _make_trials_table(trials)
    count_keys, latency_keys = ([table.c[name] for name in _KEY_COLUMNS] for table in (OBSERVATIONS, LATENCIES))
    objects = {"postgresql": sql.func.json_object_agg, "sqlite": sql.func.json_group_object}
    in_order = OBSERVATIONS.c.section, OBSERVATIONS.c.minute, OBSERVATIONS.c.arm

    def read(table: sql.Table, *columns: sql.ColumnElement[Any]) -> sql.Select[Any]:
        since = sql.and_(table.c.section > 0, table.c.section >= 60 * on_trial.c.since)
        return sql.select(*columns).join(on_trial, _match_trial(table, on_trial, until_minute)).where(since)

    with database.connect("the evidence of the trials") as connection:
        histogram = objects[connection.dialect.name](LATENCIES.c.bucket, LATENCIES.c.answers)
        rows = connection.execute(read(LATENCIES, *latency_keys, histogram).group_by(*latency_keys)).all()
        latencies = {tuple(row[:-1]): row[-1] for row in rows}
        counts = [OBSERVATIONS.c[name] for name in COUNT_COLUMNS]
        for row in connection.execute(read(OBSERVATIONS, *count_keys, *counts).order_by(*in_order)):
            key = tuple(row[: len(_KEY_COLUMNS)])
            values = dict(zip((*_KEY_COLUMNS, *COUNT_COLUMNS), row, strict=True))
            evidence[key[0]].append(Observation(**values, latencies=_parse_buckets(latencies.get(key))))


def _make_trials_table(trials: Iterable[RolloutState]) -> sql.CTE:
    """Return a table expression of both versions of each trial, with the first minutes of trial and step."""
    rows = [
        (one.tenant, version, one.start_minute, int(one.step_started_s // 60))
        for one in trials
        for version in dict.fromkeys((one.champion, one.challenger))
        if version
    ]
    names = sql.column("tenant", sql.String), sql.column("version", sql.String)
    minutes = sql.column("since", sql.BigInteger), sql.column("step_since", sql.BigInteger)
    return sql.values(*names, *minutes, name="on_trial").data(rows).cte("on_trial")


def _match_trial(table: sql.Table, trials: sql.CTE, until_minute: int) -> sql.ColumnElement[bool]:
    same = sql.and_(table.c.tenant == trials.c.tenant, table.c.version == trials.c.version)
    return sql.and_(same, table.c.minute >= trials.c.since, table.c.minute < until_minute)


def _select_sums(trials: sql.CTE, until_minute: int) -> sql.Select[Any]:
    cell = OBSERVATIONS.c

    def total(column: sql.ColumnElement[Any], *, step: bool = False) -> sql.ColumnElement[int]:
        counted = sql.case((cell.minute >= trials.c.step_since, column), else_=0) if step else column
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
        .join(trials, _match_trial(OBSERVATIONS, trials, until_minute))
        .where(cell.section == 0)
        .group_by(cell.tenant, cell.version)
    )


def _make_totals(challenger: Any, champion: Any) -> TrialTotals:
    """Make the totals from the rows of challenger and champion; None: no observations."""
    step_answers = StepAnswers(
        challenger=challenger.answered if challenger else 0,
        challenger_failed=challenger.failed if challenger else 0,
        champion=champion.answered if champion else 0,
        champion_failed=champion.failed if champion else 0,
    )
    seen = sum(row.seen for row in (challenger, champion) if row)
    return TrialTotals(
        step_answers, challenger.requests if challenger else 0, challenger.agreed if challenger else 0, seen
    )


def _parse_buckets(column: Any) -> dict[int, int]:
    """Return bucket -> answers. SQLite gives JSON as text, PostgreSQL's driver gives it parsed."""
    histogram = json.loads(column) if isinstance(column, str) else column or {}
    return {int(number): answers for number, answers in histogram.items()}
