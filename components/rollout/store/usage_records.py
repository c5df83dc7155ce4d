"""Records what is not served: trainings, each once, and the bytes of registered versions, by day. Knows no file."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import sqlalchemy as sql

from components.rollout.store.usage import claim_batch
from components.rollout.store.usage_tables import STORED_BYTES, TRAININGS, USAGE_WRITERS
from components.storage.database import Database, make_insert

_STORED_WRITER = "stored-bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training that has ended with an artifact."""

    tenant: str
    id: str
    """Unique among the tenant's trainings."""
    day: int
    """On which it ended, in days since 1970."""
    device_us: int
    """Device time, in microseconds, also of its parts before an interruption."""
    tokens: int


def add_trainings(database: Database, trainings: Iterable[Training]) -> None:
    """Record trainings; those that are recorded already are left as they are. Raises WorkspaceError."""
    rows = [asdict(one) for one in sorted(trainings, key=lambda one: (one.tenant, one.id))]
    if rows:
        with database.transaction("to record trainings") as connection:
            connection.execute(make_insert(connection, TRAININGS).on_conflict_do_nothing(), rows)


def write_stored_bytes(database: Database, day: int, stored: Mapping[str, int], *, once: bool = False) -> None:
    """Record the bytes of all tenants' versions on a day; a tenant that is not in `stored` has none.

    Only changes are written. With `once` nothing is, if a look on this day was recorded before. Raises WorkspaceError.
    """
    own = STORED_BYTES.c
    last = sql.select(own.tenant, sql.func.max(own.day).label("day")).group_by(own.tenant).subquery()
    newest = sql.select(own.tenant, own.bytes).join(last, sql.and_(own.tenant == last.c.tenant, own.day == last.c.day))
    with database.transaction("to record the bytes of versions") as connection:
        if not claim_batch(connection, _STORED_WRITER, day, day) and once:
            return
        known = {tenant: int(count) for tenant, count in connection.execute(newest)}
        changed = {
            tenant: stored.get(tenant, 0)
            for tenant in sorted({*known, *stored})
            if stored.get(tenant, 0) != known.get(tenant, 0)
        }
        rows = [{"tenant": tenant, "day": day, "bytes": count} for tenant, count in changed.items()]
        if rows:
            insert = make_insert(connection, STORED_BYTES)
            update = {"bytes": insert.excluded.bytes}
            connection.execute(insert.on_conflict_do_update(index_elements=["tenant", "day"], set_=update), rows)


def was_looked_at(database: Database, day: int) -> bool:
    """Return whether the stored bytes of a day were recorded. Raises WorkspaceError."""
    query = sql.select(USAGE_WRITERS.c.batch).where(USAGE_WRITERS.c.id == _STORED_WRITER)
    with database.connect("the last look at stored bytes") as connection:
        return int(connection.execute(query).scalar() or 0) >= day
