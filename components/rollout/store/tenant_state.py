"""Where each tenant stands in its rollout, as the last move left it; servers read from it who answers what.

MLflow's aliases are the truth about versions. What stands here beside them is what no alias can say: the step of the
trial, its share, since when, and whether a person has stopped it. Knows no policy.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import COUNTED_KEYS, ROLLOUT_STATES
from components.rollout.types import Exposure, RolloutState, ShareChange
from components.storage.database import Database, make_insert

_AFTER_EVERY_TRIAL = 2**62
"""A second that no trial begins in."""


def read_exposures(database: Database) -> dict[str, Exposure]:
    """Tenant -> exposure of its challenger, in one query for the fleet.

    A server follows it only while MLflow's alias `challenger` is on the same version. Raises WorkspaceError.
    """
    on_trial = (one for one in read_states(database).values() if one.challenger and one.share > 0)
    return {one.tenant: _to_exposure(one) for one in on_trial}


def read_states(database: Database) -> dict[str, RolloutState]:
    """Everybody's, in one query. Raises WorkspaceError."""
    with database.connect("where the tenants' rollouts stand") as connection:
        rows = connection.execute(sql.select(ROLLOUT_STATES)).mappings()
        return {row["tenant"]: from_row(row) for row in rows}


def read_state(database: Database, tenant: str) -> RolloutState:
    """One tenant's; an empty one where nothing is known. Raises WorkspaceError."""
    query = sql.select(ROLLOUT_STATES).where(ROLLOUT_STATES.c.tenant == tenant)
    with database.connect(f"where the rollout of {tenant} stands") as connection:
        row = connection.execute(query).mappings().first()
    return RolloutState(tenant=tenant) if row is None else from_row(row)


def insert_unknown_states(database: Database, states: Sequence[RolloutState]) -> None:
    """Remember tenants of whom nothing is known, and no others. Raises WorkspaceError."""
    if states:
        with database.transaction("to remember champions") as connection:
            insert = make_insert(connection, ROLLOUT_STATES)
            connection.execute(
                insert.on_conflict_do_nothing(index_elements=["tenant"]), [to_row(one) for one in states]
            )


def write_states(connection: Connection, states: Iterable[RolloutState]) -> None:
    """Write standings within the transaction of the ledger's lines on them; who was counted in older trials goes."""
    states = list(states)
    rows = [to_row(one) for one in states]
    if not rows:
        return
    insert = make_insert(connection, ROLLOUT_STATES)
    values = {name: insert.excluded[name] for name in rows[0] if name != "tenant"}
    connection.execute(insert.on_conflict_do_update(index_elements=["tenant"], set_=values), rows)
    older = (COUNTED_KEYS.c.tenant == sql.bindparam("whose"), COUNTED_KEYS.c.section < sql.bindparam("first"))
    firsts = [
        {"whose": one.tenant, "first": one.changes[0].second if one.changes else _AFTER_EVERY_TRIAL} for one in states
    ]
    connection.execute(sql.delete(COUNTED_KEYS).where(*older), firsts)


def delete_state(connection: Connection, tenant: str) -> None:
    """Know nothing of a tenant any more."""
    connection.execute(sql.delete(ROLLOUT_STATES).where(ROLLOUT_STATES.c.tenant == tenant))


def from_row(row: Mapping[Any, Any]) -> RolloutState:
    """The standing of a row of its table."""
    return RolloutState(**_decode_row(row))


def to_row(state: RolloutState) -> dict[str, Any]:
    """Plain values, as `from_row` takes them."""
    return {**asdict(state), "changes": json.dumps(state.changes)}


def _to_exposure(state: RolloutState) -> Exposure:
    before = state.changes[-2].share if len(state.changes) > 1 else 0.0
    since = state.changes[-1].second if state.changes else 0
    return Exposure(state.challenger, state.share, state.mode == "shadow", before, since)


def _decode_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    changes = tuple(ShareChange(*one) for one in json.loads(row["changes"]))
    return {**{str(name): value for name, value in row.items()}, "changes": changes}
