"""Usage by tenant and day. Writers add increments in numbered batches, so that no batch is added twice.

A server that does not know whether its last transaction was committed sends the same batch again: its number tells the
database that it has it. All amounts are whole numbers, so their sums are exact. Knows no price and no request.
"""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.usage_tables import SERVED, SERVED_COLUMNS, STORED_BYTES, TRAININGS, USAGE_WRITERS
from components.storage.database import Database, make_insert

SECONDS_PER_DAY = 86_400
_WRITER_DAYS = 90
"""After which a writer that has ended is not known any more."""
_MAX_TENANTS_PER_QUERY = 500
"""Of more tenants, everything is read."""


class UsageKey(NamedTuple):
    """A tenant and a day (days since 1970, UTC)."""

    tenant: str
    day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used in a period."""

    requests: int = 0
    """Answered, or ended by their client."""
    input_tokens: int = 0
    output_tokens: int = 0
    serving_us: int = 0
    """Device time of serving, in microseconds."""
    training_us: int = 0
    """Device time of training, in microseconds."""
    training_tokens: int = 0
    byte_days: int = 0
    """Stored bytes, summed over the days."""
    stored_bytes: int = 0
    """On the period's last day."""

    def add(self, later: "Usage") -> "Usage":
        """Return the sum of this and a later period of the same tenant."""
        sums = {one.name: getattr(self, one.name) + getattr(later, one.name) for one in fields(self)}
        return Usage(**{**sums, "stored_bytes": later.stored_bytes})


def add_served(database: Database, writer: str, batch: int, served: Mapping[UsageKey, Usage]) -> bool:
    """Add a batch of requests, tokens and device time of serving, in one transaction, unless the database has it.

    `writer` is an id of the process; the numbers of its batches grow. Returns whether it was added now.

    Raises:
        WorkspaceError: the database does not answer; then send the same batch with the same number again.
    """
    if not served:
        return False
    rows = [  # sorted, so that two servers cannot deadlock on each other's rows
        {**key._asdict(), **{name: getattr(served[key], name) for name in SERVED_COLUMNS}} for key in sorted(served)
    ]
    with database.transaction("to save usage") as connection:
        if not claim_batch(connection, writer, batch, max(key.day for key in served)):
            return False
        insert = make_insert(connection, SERVED)
        sums = {name: SERVED.c[name] + insert.excluded[name] for name in SERVED_COLUMNS}
        connection.execute(insert.on_conflict_do_update(index_elements=["tenant", "day"], set_=sums), rows)
    return True


def claim_batch(connection: Connection, writer: str, batch: int, day: int) -> bool:
    """Note a writer's batch; return whether it is later than the last one. Another's claim of it is waited for."""
    insert = make_insert(connection, USAGE_WRITERS).values(id=writer, batch=batch, day=day)
    claim = insert.on_conflict_do_update(
        index_elements=["id"],
        set_={"batch": insert.excluded.batch, "day": insert.excluded.day},
        where=USAGE_WRITERS.c.batch < insert.excluded.batch,
    )
    is_new = connection.execute(claim.returning(USAGE_WRITERS.c.id)).first() is not None
    if batch == 1:
        connection.execute(sql.delete(USAGE_WRITERS).where(USAGE_WRITERS.c.day < day - _WRITER_DAYS))
    return is_new


def read_usage(
    database: Database, first_day: int, last_day: int, *, tenants: Collection[str] | None = None, by_day: bool = False
) -> dict[UsageKey, Usage]:
    """Return the usage of all (or the named) tenants from one day to another, both included.

    With `by_day` there is a key for each day on which a tenant used something, else one for each tenant, with
    `first_day`. Raises WorkspaceError.
    """
    found: dict[UsageKey, dict[str, int]] = {}

    def add(tenant: str, day: int, **amounts: int) -> None:
        own = found.setdefault(UsageKey(tenant, day if by_day else first_day), {})
        for name, amount in amounts.items():
            own[name] = own.get(name, 0) + int(amount)

    with database.connect("the usage of tenants") as connection:
        for row in connection.execute(_select_sums(SERVED, SERVED_COLUMNS, first_day, last_day, tenants, by_day)):
            add(row.tenant, row.first_day, **{name: getattr(row, name) for name in SERVED_COLUMNS})
        for row in connection.execute(
            _select_sums(TRAININGS, ("device_us", "tokens"), first_day, last_day, tenants, by_day)
        ):
            add(row.tenant, row.first_day, training_us=row.device_us, training_tokens=row.tokens)
        changes = _read_stored(connection, first_day, last_day, tenants)
    for tenant, own in changes.items():
        days = [*sorted(own), last_day + 1]
        for begin, end in itertools.pairwise(days):
            for day in range(begin, end) if by_day else ():
                if own[begin]:
                    add(tenant, day, byte_days=own[begin], stored_bytes=own[begin])
            if not by_day:
                add(tenant, first_day, byte_days=own[begin] * (end - begin))
        if not by_day:
            add(tenant, first_day, stored_bytes=own[days[-2]])
    wanted = None if tenants is None else set(tenants)
    usages = {key: Usage(**amounts) for key, amounts in found.items() if wanted is None or key.tenant in wanted}
    return {key: usages[key] for key in sorted(usages) if usages[key] != Usage()}


def list_using_tenants(database: Database, first_day: int, last_day: int) -> list[str]:
    """Return the tenants that may have used something in these days, sorted. Raises WorkspaceError."""
    queries = [
        sql.select(table.c.tenant).where(table.c.day.between(begin, last_day))
        for table, begin in ((SERVED, first_day), (TRAININGS, first_day), (STORED_BYTES, 0))
    ]
    with database.connect("the tenants that used something") as connection:
        return sorted(connection.execute(sql.union(*queries)).scalars())


def _select_sums(
    table: sql.Table,
    names: Collection[str],
    first_day: int,
    last_day: int,
    tenants: Collection[str] | None,
    by_day: bool,
) -> "sql.Select[Any]":
    own = table.c
    sums = (sql.func.sum(own[name]).label(name) for name in names)
    query = sql.select(own.tenant, sql.func.min(own.day).label("first_day"), *sums)
    query = query.where(own.day.between(first_day, last_day), *_choose_tenants(table, tenants))
    return query.group_by(own.tenant, own.day) if by_day else query.group_by(own.tenant)


def _read_stored(
    connection: Connection, first_day: int, last_day: int, tenants: Collection[str] | None
) -> dict[str, dict[int, int]]:
    """Return tenant -> day -> stored bytes from that day on; what was there before `first_day` counts from it on."""
    own, chosen = STORED_BYTES.c, _choose_tenants(STORED_BYTES, tenants)
    last = sql.select(own.tenant, sql.func.max(own.day).label("day")).where(own.day < first_day, *chosen)
    before = last.group_by(own.tenant).subquery()
    is_last = sql.and_(own.tenant == before.c.tenant, own.day == before.c.day)
    earlier = sql.select(own.tenant, own.bytes).join(before, is_last)
    stored = {tenant: {first_day: int(count)} for tenant, count in connection.execute(earlier)}
    later = sql.select(own.tenant, own.day, own.bytes).where(own.day.between(first_day, last_day), *chosen)
    for tenant, day, count in connection.execute(later):
        stored.setdefault(tenant, {})[day] = int(count)
    return stored


def _choose_tenants(table: sql.Table, tenants: Collection[str] | None) -> list[sql.ColumnElement[bool]]:
    few = tenants is not None and len(tenants) <= _MAX_TENANTS_PER_QUERY
    return [table.c.tenant.in_(sorted(tenants or ()))] if few else []
