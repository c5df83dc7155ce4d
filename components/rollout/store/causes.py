"""Causes of retrainings: opened once, tried until a run that works on them has ended, then closed for good.

A cause has an id that is made from what caused it (the digest of a delivery, a window of requests), so the same cause
is never opened twice. A run that is killed leaves its causes open. Knows no run and no scheduler.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import CAUSES
from components.storage.database import Database, make_insert

CauseKind = Literal["arrival", "drift", "base", "fine-tuning"]
"""A cause of kind fine-tuning is made from the table of jobs (`cause_list`), never kept in the table of causes."""

_FIRST_PAUSE_S = 60.0
_LONGEST_PAUSE_S = 3600.0
_IS_OPEN = CAUSES.c.closed_at == ""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why one tenant must be trained again."""

    tenant: str
    id: str
    """Begins with the kind; the same for the same delivery or window."""
    kind: CauseKind
    why: str
    """For people; completes "retrained because ..."."""
    opened_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    tries: int = 0
    """Runs that began to work on it."""
    tried_s: float = 0.0
    """When the last of them began, in seconds since 1970."""
    closed_at: str = ""
    """"": it is open."""
    result: str = ""
    """How the run ended that closed it."""

    def is_due(self, now_s: float) -> bool:
        """Return whether a run may begin: at once, and after runs that were stopped with ever longer pauses."""
        if self.closed_at:
            return False
        pause_s = 0.0 if self.tries < 2 else min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (self.tries - 2))
        return not self.tried_s <= now_s < self.tried_s + pause_s


def open_causes(connection: Connection, causes: Iterable[Cause]) -> list[Cause]:
    """Add causes within a transaction; return those that were not known before, open or closed."""
    new = []
    for cause in causes:
        insert = make_insert(connection, CAUSES).values(asdict(cause)).on_conflict_do_nothing()
        if connection.execute(insert.returning(CAUSES.c.id)).first() is not None:
            new.append(cause)
    return new


def read_open_causes(database: Database, tenants: Iterable[str] | None = None) -> list[Cause]:
    """Return the open causes of all (or the named) tenants, oldest first, without those of the next base.

    Raises WorkspaceError.
    """
    chosen = None if tenants is None else set(tenants)
    query = (
        sql.select(CAUSES)
        .where(_IS_OPEN, CAUSES.c.kind != "base")
        .order_by(CAUSES.c.opened_at, CAUSES.c.tenant, CAUSES.c.id)
    )
    return [one for one in _read(database, query) if chosen is None or one.tenant in chosen]


def read_newest_causes(database: Database, limit: int) -> list[Cause]:
    """Return the causes that were opened last, newest first. Raises WorkspaceError."""
    return _read(database, sql.select(CAUSES).order_by(CAUSES.c.opened_at.desc(), CAUSES.c.id).limit(limit))


def read_causes_closed_between(database: Database, since: str, until: str) -> list[Cause]:
    """Return the causes that were closed from one time (ISO 8601) to another, by tenant. Raises WorkspaceError."""
    is_closed = CAUSES.c.closed_at >= since, CAUSES.c.closed_at <= until, CAUSES.c.closed_at != ""
    return _read(database, sql.select(CAUSES).where(*is_closed).order_by(CAUSES.c.tenant, CAUSES.c.id))


def read_causes_of_kind(database: Database, kind: CauseKind) -> list[Cause]:
    """Return all causes of one kind, open and closed. Raises WorkspaceError."""
    return _read(database, sql.select(CAUSES).where(CAUSES.c.kind == kind))


def read_tenant_causes(database: Database, tenant: str, limit: int) -> list[Cause]:
    """Return the causes of a tenant that were opened last, newest first. Raises WorkspaceError."""
    query = sql.select(CAUSES).where(CAUSES.c.tenant == tenant).order_by(CAUSES.c.opened_at.desc(), CAUSES.c.id)
    return _read(database, query.limit(limit))


def has_cause(database: Database, tenant: str, cause_id: str) -> bool:
    """Return whether this cause was ever opened. Raises WorkspaceError."""
    query = sql.select(CAUSES.c.id).where(CAUSES.c.tenant == tenant, CAUSES.c.id == cause_id)
    with database.connect("the causes of retrainings") as connection:
        return connection.execute(query).first() is not None


def begin_causes(database: Database, causes: Sequence[Cause], now_s: float) -> None:
    """Record that a run begins to work on causes. Raises WorkspaceError."""
    _update(database, causes, {"tries": CAUSES.c.tries + 1, "tried_s": now_s})


def close_causes(database: Database, causes: Sequence[Cause], results: Sequence[str]) -> None:
    """Close causes, each with how its run ended. Raises WorkspaceError."""
    rows = [{"the_result": result} for result in results]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    _update(database, causes, {"closed_at": now, "result": sql.bindparam("the_result")}, rows)


def _update(
    database: Database, causes: Sequence[Cause], values: dict[str, Any], rows: Sequence[dict[str, Any]] | None = None
) -> None:
    if not causes:
        return
    own = rows or [{} for _ in causes]
    keys = [{"the_tenant": one.tenant, "the_id": one.id, **more} for one, more in zip(causes, own, strict=True)]
    which = (CAUSES.c.tenant == sql.bindparam("the_tenant"), CAUSES.c.id == sql.bindparam("the_id"), _IS_OPEN)
    with database.transaction("to record causes of retrainings") as connection:
        connection.execute(sql.update(CAUSES).where(*which).values(values), keys)


def _read(database: Database, query: sql.Select[Any]) -> list[Cause]:
    with database.connect("the causes of retrainings") as connection:
        return [Cause(**dict(row)) for row in connection.execute(query).mappings()]
