"""What serving saw of each version, counted by minute: written by servers in batches, read by the rollout flow.

Counts add up, whichever server writes them and however often. They are counts of all answers, or of those that are
evidence in one section of a trial: a stretch of time with one share. Latency is a histogram: bucket i holds answers
that took at most 2^(i/4) ms, and more than bucket i-1. Knows no request, no text, and not what makes evidence.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.database import Database, insert_into
from components.rollout.store.tables import COUNTED, COUNTS, LATENCIES, OBSERVATIONS
from components.rollout.types import Observation

_BUCKETS_AN_OCTAVE = 4
_KEY = ("tenant", "version", "arm", "minute", "section")


def bucket(latency_ms: float) -> int:
    """The histogram's bucket of a latency."""
    return max(0, math.ceil(_BUCKETS_AN_OCTAVE * math.log2(max(latency_ms, 1.0))))


def record(database: Database, observations: Iterable[Observation]) -> None:
    """Add counts to what is there, in one transaction. Raises WorkspaceError."""
    with database.writing("to write down what serving saw") as connection:
        add(connection, observations)


def add(connection: Connection, observations: Iterable[Observation]) -> None:
    """Add counts within a transaction."""
    counts: dict[tuple[Any, ...], list[int]] = {}
    latencies: dict[tuple[Any, ...], int] = {}
    for one in observations:
        key = tuple(getattr(one, name) for name in _KEY)
        sums = counts.setdefault(key, [0] * len(COUNTS))
        for index, name in enumerate(COUNTS):
            sums[index] += getattr(one, name)
        for number, answers in one.latencies.items():
            latencies[(*key, number)] = latencies.get((*key, number), 0) + answers
    # In a fixed order, so that two servers never wait for each other's rows.
    rows = [dict(zip((*_KEY, *COUNTS), (*key, *counts[key]), strict=True)) for key in sorted(counts)]
    slow = [dict(zip((*_KEY, "bucket", "answers"), (*key, latencies[key]), strict=True)) for key in sorted(latencies)]
    _add(connection, OBSERVATIONS, rows, COUNTS)
    _add(connection, LATENCIES, slow, ("answers",))


def prune(database: Database, before: int) -> None:
    """Remove what was seen before a minute. Raises WorkspaceError."""
    with database.writing("to remove what serving saw long ago") as connection:
        for table in (OBSERVATIONS, LATENCIES):
            connection.execute(sql.delete(table).where(table.c.minute < before))
        connection.execute(sql.delete(COUNTED).where(COUNTED.c.section < 60 * before))


def _add(connection: Connection, table: sql.Table, rows: list[dict[str, Any]], counted: Sequence[str]) -> None:
    if not rows:
        return
    insert = insert_into(connection, table)
    sums = {name: table.c[name] + insert.excluded[name] for name in counted}
    keys = [column.name for column in table.primary_key.columns]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=sums), rows)
