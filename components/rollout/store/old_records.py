"""Old records of nights and fine-tuning jobs, which nothing needs any more, and old usage, which is summed by month.

Trainings, causes, feedback and the ledger stay: the first three keep something from being counted or done twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import RUN_TENANTS, RUNS
from components.rollout.store.tuning_tables import TUNING_EVENTS, TUNING_JOBS
from components.rollout.store.usage_tables import SERVED, SERVED_COLUMNS
from components.storage.database import Database

_EPOCH = date(1970, 1, 1)
_LOCK = {"postgresql": "LOCK TABLE prefixfleet_usage IN SHARE ROW EXCLUSIVE MODE", "sqlite": "BEGIN IMMEDIATE"}
"""By dialect: no server adds usage while it is summed."""


@dataclass(frozen=True, slots=True)
class OldRecords:
    """Numbers of rows."""

    runs: int
    """Of nights, and of their tenants."""
    events: int
    """Of ended fine-tuning jobs."""


def remove_old_records(database: Database, before_s: float, *, dry_run: bool = False) -> OldRecords:
    """Delete the records of runs that ended before a time (seconds since 1970), and events of jobs that did.

    Runs without an end stay: a later run may still finish what they began. With `dry_run` rows are only counted.

    Raises:
        WorkspaceError: the database does not answer.
    """
    before = datetime.fromtimestamp(before_s, UTC).isoformat(timespec="seconds")
    runs = sql.select(RUNS.c.id).where(RUNS.c.ended_at != "", RUNS.c.ended_at < before)
    jobs = sql.select(TUNING_JOBS.c.id).where(TUNING_JOBS.c.ended_s > 0, TUNING_JOBS.c.ended_s < before_s)
    chosen = (
        (RUN_TENANTS, RUN_TENANTS.c.run.in_(runs)),
        (RUNS, RUNS.c.id.in_(runs)),
        (TUNING_EVENTS, TUNING_EVENTS.c.job.in_(jobs)),
    )
    with database.transaction("to remove old records") as connection:
        counts = [
            int(connection.execute(sql.select(sql.func.count()).select_from(table).where(condition)).scalar_one())
            for table, condition in chosen
        ]
        if not dry_run:
            for table, condition in chosen:
                connection.execute(sql.delete(table).where(condition))
    return OldRecords(counts[0] + counts[1], counts[2])


def sum_old_usage(database: Database, before_day: int, *, dry_run: bool = False) -> int:
    """Sum each tenant's usage by day to usage by month, for the months that ended before a day (since 1970).

    A month's usage is in the row of its first day. Returns how many rows there are fewer.

    Raises:
        WorkspaceError: the database does not answer.
    """
    with database.transaction("to sum old usage by month") as connection:
        first = sql.select(sql.func.min(SERVED.c.day))
        if not dry_run:
            connection.exec_driver_sql(_LOCK[connection.dialect.name])
        oldest = connection.execute(first).scalar()
        if oldest is None:
            return 0
        return sum(_sum_month(connection, *month, dry_run=dry_run) for month in _list_months(oldest, before_day))


def _list_months(oldest: int, before_day: int) -> Iterator[tuple[int, int]]:
    """Yield the first day of each whole month, and that of the month after it."""
    month = (_EPOCH + timedelta(days=oldest)).replace(day=1)
    while True:
        following = (month + timedelta(days=32)).replace(day=1)
        if (following - _EPOCH).days > before_day:
            return
        yield (month - _EPOCH).days, (following - _EPOCH).days
        month = following


def _sum_month(connection: Connection, first: int, following: int, *, dry_run: bool) -> int:
    own = SERVED.c
    inside = (own.day >= first, own.day < following)
    sums = [sql.func.sum(own[name]).label(name) for name in SERVED_COLUMNS]
    later = sql.func.max(own.day) > first  # tenants with nothing but the month's row stay as they are
    query = sql.select(own.tenant, sql.func.count().label("rows"), *sums).where(*inside).group_by(own.tenant)
    found = connection.execute(query.having(later)).mappings().all()
    if found and not dry_run:
        tenants = sorted(row["tenant"] for row in found)
        for begin in range(0, len(tenants), 500):
            some = own.tenant.in_(tenants[begin : begin + 500])
            connection.execute(sql.delete(SERVED).where(*inside, some))
        rows = [
            {"tenant": row["tenant"], "day": first, **{name: int(row[name]) for name in SERVED_COLUMNS}}
            for row in found
        ]
        connection.execute(sql.insert(SERVED), rows)
    return sum(int(row["rows"]) - 1 for row in found)
