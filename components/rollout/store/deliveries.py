"""Deliveries: events that channels and webhooks are to get. Written with what they tell of, in one transaction.

A row is one event for one target. Whoever sends claims rows for a while; if it dies, another one claims them later. So
an event is delivered at least once, and all tries of it have the same id. Knows no network and no target.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import DELIVERIES
from components.storage.database import Database

DeliveryState = Literal["waiting", "delivered", "given-up"]
_OWN = DELIVERIES.c
_IS_WAITING = _OWN.state == "waiting"
_LEASE_S = 120.0
"""After which another process may send what a process has claimed: it died, or hangs."""
_KEEP_S = 30 * 86_400.0
"""How long deliveries that have ended are listed."""
_MAX_PROBLEM = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """An event for one target."""

    target: str
    event: str
    """The event's id; the same for all its targets."""
    type: str
    tenant: str
    """"": several tenants, or none."""
    payload: str
    """JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery(NewDelivery):
    """A delivery as it is recorded. Times are seconds since 1970."""

    id: int
    created_s: float
    next_try_s: float
    tries: int
    problem: str
    """Why the last try failed; "": none failed."""
    state: DeliveryState


@dataclass(frozen=True, slots=True)
class TargetCounts:
    """The deliveries of one target."""

    waiting: int = 0
    delivered: int = 0
    """In the last 30 days, as those that were given up."""
    given_up: int = 0
    problem: str = ""
    """Of the newest delivery that failed and is not delivered."""


def add_deliveries(connection: Connection, deliveries: Sequence[NewDelivery], now_s: float) -> None:
    """Add deliveries within the transaction of what they tell of."""
    rows = [
        {
            **{name: getattr(one, name) for name in NewDelivery.__slots__},
            **{"created_s": now_s, "next_try_s": now_s, "tries": 0, "problem": "", "state": "waiting"},
        }
        for one in deliveries
    ]
    if rows:
        connection.execute(sql.insert(DELIVERIES), rows)


def claim_due(database: Database, target: str, limit: int, now_s: float) -> list[Delivery]:
    """Claim the oldest deliveries of a target that are due, for two minutes. Raises WorkspaceError."""
    due = _IS_WAITING, _OWN.target == target, _OWN.next_try_s <= now_s
    chosen = sql.select(_OWN.id).where(*due).order_by(_OWN.id).limit(limit)
    claim = sql.update(DELIVERIES).where(_OWN.id.in_(chosen), *due)
    values = {"next_try_s": now_s + _LEASE_S, "tries": _OWN.tries + 1}
    with database.transaction("to claim deliveries") as connection:
        rows = connection.execute(claim.values(values).returning(DELIVERIES)).mappings().all()
    return sorted((Delivery(**dict(row)) for row in rows), key=lambda one: one.id)


def mark_delivered(database: Database, deliveries: Sequence[Delivery]) -> None:
    """Record that the target accepted deliveries; their payload is removed. Raises WorkspaceError."""
    _change(database, deliveries, {"state": "delivered", "payload": "", "problem": ""})


def delay(database: Database, deliveries: Sequence[Delivery], next_try_s: float, problem: str) -> None:
    """Record why a try failed, and when the next one may begin. Raises WorkspaceError."""
    _change(database, deliveries, {"next_try_s": next_try_s, "problem": problem[:_MAX_PROBLEM]})


def give_up_before(database: Database, created_s: float, now_s: float) -> list[Delivery]:
    """Give up what waits since before `created_s`, and return it; forget what ended long ago. Raises WorkspaceError."""
    old = sql.update(DELIVERIES).where(_IS_WAITING, _OWN.created_s < created_s)
    with database.transaction("to give up old deliveries") as connection:
        connection.execute(sql.delete(DELIVERIES).where(~_IS_WAITING, _OWN.created_s < now_s - _KEEP_S))
        rows = connection.execute(old.values(state="given-up", payload="").returning(DELIVERIES)).mappings().all()
    return [Delivery(**dict(row)) for row in rows]


def count_deliveries(database: Database) -> dict[str, TargetCounts]:
    """Return target -> its counts, for targets that have deliveries. Raises WorkspaceError."""
    grouped = sql.select(_OWN.target, _OWN.state, sql.func.count()).group_by(_OWN.target, _OWN.state)
    failed = sql.select(sql.func.max(_OWN.id)).where(_OWN.problem != "", _OWN.state != "delivered")
    newest = sql.select(_OWN.target, _OWN.problem).where(_OWN.id.in_(failed.group_by(_OWN.target)))
    with database.connect("the deliveries") as connection:
        counts: dict[str, dict[str, Any]] = {}
        for target, state, number in connection.execute(grouped):
            counts.setdefault(target, {})[state.replace("-", "_")] = int(number)
        problems = {row.target: row.problem for row in connection.execute(newest)}
    return {target: TargetCounts(**own, problem=problems.get(target, "")) for target, own in sorted(counts.items())}


def has_due(database: Database, targets: Collection[str], now_s: float) -> bool:
    """Return whether a delivery to one of the targets is due. Raises WorkspaceError."""
    due = _IS_WAITING, _OWN.target.in_(sorted(targets)), _OWN.next_try_s <= now_s
    with database.connect("the deliveries") as connection:
        return connection.execute(sql.select(_OWN.id).where(*due).limit(1)).first() is not None


def delete_deliveries_naming(connection: Connection, tenant: str) -> None:
    """Delete deliveries about several tenants that name this one."""
    named = _OWN.payload.contains(f'"{tenant}"', autoescape=True)
    connection.execute(sql.delete(DELIVERIES).where(_OWN.tenant == "", named))


def _change(database: Database, deliveries: Sequence[Delivery], values: Mapping[str, Any]) -> None:
    ids = [one.id for one in deliveries]
    with database.transaction("to record deliveries") as connection:
        connection.execute(sql.update(DELIVERIES).where(_OWN.id.in_(ids), _IS_WAITING).values(**values))
