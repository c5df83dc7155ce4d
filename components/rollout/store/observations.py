"""Counts of each version's answers by minute: written by servers in batches, read by the rollout's cycle.

Counts of all servers are added up. They are of all answers (section 0), or of the evidence in one section of a trial: a
period with one share. Latency is a histogram: bucket i holds the answers that took at most 2^(i/4) ms, and more than
those of bucket i-1. Knows no request and no text; does not know which answers are evidence.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import COUNT_COLUMNS, COUNTED_KEYS, LATENCIES, OBSERVATIONS
from components.rollout.types import Observation
from components.storage.database import Database, make_insert

_BUCKETS_PER_OCTAVE = 4
_KEY_COLUMNS = ("tenant", "version", "arm", "minute", "section")


def to_latency_bucket(latency_ms: float) -> int:
    """Return the histogram bucket of a latency."""
    return max(0, math.ceil(_BUCKETS_PER_OCTAVE * math.log2(max(latency_ms, 1.0))))


def to_bucket_limit_ms(bucket: int) -> float:
    """Return the longest latency that falls into a histogram bucket."""
    return float(2 ** (bucket / _BUCKETS_PER_OCTAVE))


def write_counts(database: Database, observations: Iterable[Observation]) -> None:
    """Add counts to the stored ones, in one transaction. Raises WorkspaceError."""
    with database.transaction("to save observations") as connection:
        add_observations(connection, observations)


def add_observations(connection: Connection, observations: Iterable[Observation]) -> None:
    """As `write_counts`, within the caller's transaction."""
    counts: dict[tuple[Any, ...], list[int]] = {}
    latencies: dict[tuple[Any, ...], int] = {}
    for one in observations:
        key = tuple(getattr(one, name) for name in _KEY_COLUMNS)
        sums = counts.setdefault(key, [0] * len(COUNT_COLUMNS))
        for index, name in enumerate(COUNT_COLUMNS):
            sums[index] += getattr(one, name)
        for number, answers in one.latencies.items():
            latencies[(*key, number)] = latencies.get((*key, number), 0) + answers
    # Sorted, so that two servers cannot deadlock on each other's rows.
    rows = [dict(zip((*_KEY_COLUMNS, *COUNT_COLUMNS), (*key, *counts[key]), strict=True)) for key in sorted(counts)]
    latency_rows = [
        dict(zip((*_KEY_COLUMNS, "bucket", "answers"), (*key, latencies[key]), strict=True))
        for key in sorted(latencies)
    ]
    _upsert_counts(connection, OBSERVATIONS, rows, COUNT_COLUMNS)
    _upsert_counts(connection, LATENCIES, latency_rows, ("answers",))


def find_newest_minute(database: Database) -> int | None:
    """Return the newest minute of an observation, by a server's clock; None: there is none. Raises WorkspaceError."""
    with database.connect("the newest observation") as connection:
        return connection.execute(sql.select(sql.func.max(OBSERVATIONS.c.minute))).scalar()


def count_requests(database: Database, since_minute: int) -> dict[str, int]:
    """Return tenant -> all its requests from a minute on. Raises WorkspaceError."""
    of_all = (OBSERVATIONS.c.section == 0, OBSERVATIONS.c.minute >= since_minute)
    query = sql.select(OBSERVATIONS.c.tenant, sql.func.sum(OBSERVATIONS.c.requests)).where(*of_all)
    with database.connect("the requests of all tenants") as connection:
        rows = connection.execute(query.group_by(OBSERVATIONS.c.tenant)).all()
    return {tenant: int(count) for tenant, count in rows}


def delete_observations_before(database: Database, minute: int) -> None:
    """Delete all observations and counted keys from before a minute. Raises WorkspaceError."""
    with database.transaction("to delete old observations") as connection:
        for table in (OBSERVATIONS, LATENCIES):
            connection.execute(sql.delete(table).where(table.c.minute < minute))
        connection.execute(sql.delete(COUNTED_KEYS).where(COUNTED_KEYS.c.section < 60 * minute))


def _upsert_counts(
    connection: Connection, table: sql.Table, rows: list[dict[str, Any]], count_columns: Sequence[str]
) -> None:
    if not rows:
        return
    insert = make_insert(connection, table)
    sums = {name: table.c[name] + insert.excluded[name] for name in count_columns}
    keys = [column.name for column in table.primary_key.columns]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=sums), rows)
