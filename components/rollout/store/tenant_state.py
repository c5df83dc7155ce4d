"""The rollout state of each tenant, as its last move left it; servers read the traffic split from it.

MLflow's aliases are the truth about versions. The state adds what aliases cannot hold: the trial's step and share,
their start, pause and pin. Knows no policy.
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
"""Later than the start of any trial, in seconds."""


def read_exposures(database: Database) -> dict[str, Exposure]:
    """Return tenant -> exposure of its challenger, for all tenants with traffic on one, in one query.

    A server applies it only while MLflow's alias `challenger` is on the same version. Raises WorkspaceError.
    """
    on_trial = (one for one in read_states(database).values() if one.challenger and one.share > 0)
    return {one.tenant: _to_exposure(one) for one in on_trial}


def read_states(database: Database) -> dict[str, RolloutState]:
    """Return tenant -> state for all tenants, in one query. Raises WorkspaceError."""
    with database.connect("the rollout state of all tenants") as connection:
        rows = connection.execute(sql.select(ROLLOUT_STATES)).mappings()
        return {row["tenant"]: from_row(row) for row in rows}


def read_state(database: Database, tenant: str) -> RolloutState:
    """Return a tenant's state, an empty one if none is recorded. Raises WorkspaceError."""
    query = sql.select(ROLLOUT_STATES).where(ROLLOUT_STATES.c.tenant == tenant)
    with database.connect(f"the rollout state of {tenant}") as connection:
        row = connection.execute(query).mappings().first()
    return RolloutState(tenant=tenant) if row is None else from_row(row)


def insert_unknown_states(database: Database, states: Sequence[RolloutState]) -> None:
    """Insert the states of tenants that have none yet; keep the others'. Raises WorkspaceError."""
    if states:
        with database.transaction("to save the champions") as connection:
            insert = make_insert(connection, ROLLOUT_STATES)
            connection.execute(
                insert.on_conflict_do_nothing(index_elements=["tenant"]), [to_row(one) for one in states]
            )


def write_states(connection: Connection, states: Iterable[RolloutState]) -> None:
    """Write states within the transaction of their ledger entries; delete the counted keys of earlier trials."""
    states = list(states)
    rows = [to_row(one) for one in states]
    if not rows:
        return
    insert = make_insert(connection, ROLLOUT_STATES)
    values = {name: insert.excluded[name] for name in rows[0] if name != "tenant"}
    connection.execute(insert.on_conflict_do_update(index_elements=["tenant"], set_=values), rows)
    older = (COUNTED_KEYS.c.tenant == sql.bindparam("of_tenant"), COUNTED_KEYS.c.section < sql.bindparam("first"))
    firsts = [
        {"of_tenant": one.tenant, "first": one.changes[0].second if one.changes else _AFTER_EVERY_TRIAL}
        for one in states
    ]
    connection.execute(sql.delete(COUNTED_KEYS).where(*older), firsts)


def delete_state(connection: Connection, tenant: str) -> None:
    """Delete the state of a tenant."""
    connection.execute(sql.delete(ROLLOUT_STATES).where(ROLLOUT_STATES.c.tenant == tenant))


def from_row(row: Mapping[Any, Any]) -> RolloutState:
    """Return the state in a row of its table."""
    return RolloutState(**_decode_row(row))


def to_row(state: RolloutState) -> dict[str, Any]:
    """Return the state as a row for `from_row`."""
    return {**asdict(state), "changes": json.dumps(state.changes)}


def _to_exposure(state: RolloutState) -> Exposure:
    before = state.changes[-2].share if len(state.changes) > 1 else 0.0
    since = state.changes[-1].second if state.changes else 0
    return Exposure(state.challenger, state.share, state.mode == "shadow", before, since)


def _decode_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    changes = tuple(ShareChange(*one) for one in json.loads(row["changes"]))
    return {**{str(name): value for name, value in row.items()}, "changes": changes}
