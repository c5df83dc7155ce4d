"""The tenants' quotas as token buckets in the database, of which servers lease parts.

What a server leases is taken from the bucket at once, so all servers together never have more than one bucket gives.
A server gives back what it does not use. Also counts the servers that lease. Knows no request.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import QUOTAS, SERVERS
from components.storage.database import Database, make_insert

BEAT_SECONDS = 5.0
"""How often a server says that it is alive."""
ROUNDING = 1e-6
"""Amounts that differ by less are equal."""
_DEAD_SECONDS = 3 * BEAT_SECONDS
QuotaKey = tuple[str, str]
"""Tenant and unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRequest:
    """What a server wants of one bucket."""

    key: QuotaKey
    per_minute: float
    """The bucket's size, and what flows in per minute."""
    owed: float = 0.0
    """Taken in any case, for what was used beyond a lease; negative: given back."""
    wanted: float = 0.0
    """The most to take."""
    needed: float = 0.0
    """If the bucket has less, nothing is taken."""
    least: float = 0.0
    """Else at least so much is taken, even if the bucket is overdrawn."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a server got: the amount beside `owed`, and the bucket's level after it."""

    taken: float
    level: float


class QuotaLeases:
    """The buckets of all tenants; may be shared by threads. Methods raise WorkspaceError."""

    def __init__(self, database: Database, server_id: str, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since 1970, for SQLite; PostgreSQL has the clock that all servers share."""
        self._database, self._server_id, self._clock = database, server_id, clock

    def take(self, requests: Sequence[LeaseRequest], *, beats: bool) -> tuple[Mapping[QuotaKey, Lease], int | None]:
        """Serve requests, one a bucket, in one transaction. With `beats`, say that this server is alive.

        Returns the leases, and with `beats` the number of servers alive, else None.
        """
        ordered = sorted(requests, key=lambda one: one.key)  # so that servers cannot deadlock
        leases: dict[QuotaKey, Lease] = {}
        with self._database.transaction("to take of the tenants' quotas") as connection:
            now = self._make_now(connection)
            if ordered:
                levels = _refill(connection, ordered, now)
                leases = {one.key: _compute_lease(one, levels[one.key]) for one in ordered}
                _write_levels(connection, leases)
            return leases, self._beat(connection, now) if beats else None

    def leave(self) -> None:
        """Count this server no more."""
        with self._database.transaction("to leave the servers that share quotas") as connection:
            connection.execute(sql.delete(SERVERS).where(SERVERS.c.id == self._server_id))

    def _beat(self, connection: Connection, now: sql.ColumnElement[Any]) -> int:
        insert = make_insert(connection, SERVERS).values(id=self._server_id, seen_s=now)
        insert = insert.on_conflict_do_update(index_elements=[SERVERS.c.id], set_={"seen_s": insert.excluded.seen_s})
        connection.execute(insert)
        connection.execute(sql.delete(SERVERS).where(SERVERS.c.seen_s < now - _DEAD_SECONDS))
        count: int = connection.execute(sql.select(sql.func.count()).select_from(SERVERS)).scalar_one()
        return count

    def _make_now(self, connection: Connection) -> sql.ColumnElement[Any]:
        if connection.dialect.name == "sqlite":
            return sql.literal(self._clock(), sql.Float)
        return sql.cast(sql.extract("epoch", sql.func.clock_timestamp()), sql.Float)


def _refill(
    connection: Connection, requests: Sequence[LeaseRequest], now: sql.ColumnElement[Any]
) -> dict[QuotaKey, float]:
    """Add to each bucket what has flowed in, and lock it; a new bucket is full. Returns the levels.

    A transaction may have read the clock before another that filled the bucket: the later time stays, so that no moment
    flows in twice.
    """
    rows = [{"tenant": one.key[0], "unit": one.key[1], "level": one.per_minute, "filled_s": now} for one in requests]
    insert = make_insert(connection, QUOTAS).values(rows)
    full, filled_s = insert.excluded.level, insert.excluded.filled_s
    later_s = sql.case((filled_s > QUOTAS.c.filled_s, filled_s), else_=QUOTAS.c.filled_s)
    level = QUOTAS.c.level + (later_s - QUOTAS.c.filled_s) * full / 60
    insert = insert.on_conflict_do_update(
        index_elements=[QUOTAS.c.tenant, QUOTAS.c.unit],
        set_={"level": sql.case((level < full, level), else_=full), "filled_s": later_s},
    )
    returned = connection.execute(insert.returning(QUOTAS.c.tenant, QUOTAS.c.unit, QUOTAS.c.level))
    return {(tenant, unit): level for tenant, unit, level in returned}


def _compute_lease(request: LeaseRequest, level: float) -> Lease:
    left = min(request.per_minute, level - request.owed)
    taken = 0.0 if left < request.needed - ROUNDING else max(request.least, min(request.wanted, left), 0.0)
    return Lease(taken, left - taken)


def _write_levels(connection: Connection, leases: Mapping[QuotaKey, Lease]) -> None:
    is_row = sql.and_(QUOTAS.c.tenant == sql.bindparam("of_tenant"), QUOTAS.c.unit == sql.bindparam("of_unit"))
    update = sql.update(QUOTAS).where(is_row).values(level=sql.bindparam("new_level"))
    connection.execute(
        update,
        [{"of_tenant": key[0], "of_unit": key[1], "new_level": lease.level} for key, lease in leases.items()],
    )
