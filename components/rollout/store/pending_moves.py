"""Write-ahead records of moves: saved before MLflow's aliases change, deleted with the write of state and ledger.

A record that is left by a killed process tells what the move was and who made it. Knows no MLflow.
"""

import json
from dataclasses import asdict

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import PENDING_MOVES
from components.rollout.store.tenant_state import from_row, to_row
from components.rollout.types import LedgerEntry, RolloutState
from components.storage.database import make_insert

RecordedMove = tuple[RolloutState, LedgerEntry]
"""A tenant's state after a move, and the ledger entry of the move."""


def save_pending_move(connection: Connection, move: RecordedMove) -> None:
    """Save the tenant's pending move; it replaces an earlier one."""
    after, entry = move
    row = {"standing": json.dumps(to_row(after)), "entry": json.dumps(asdict(entry))}
    insert = make_insert(connection, PENDING_MOVES).values(tenant=after.tenant, **row)
    connection.execute(insert.on_conflict_do_update(index_elements=["tenant"], set_=row))


def read_pending_move(connection: Connection, tenant: str) -> RecordedMove | None:
    """Return the tenant's pending move; None: there is none."""
    row = connection.execute(sql.select(PENDING_MOVES).where(PENDING_MOVES.c.tenant == tenant)).first()
    if row is None:
        return None
    return from_row(json.loads(row.standing)), LedgerEntry(**json.loads(row.entry))


def delete_pending_move(connection: Connection, tenant: str) -> None:
    """Delete the tenant's pending move, if there is one."""
    connection.execute(sql.delete(PENDING_MOVES).where(PENDING_MOVES.c.tenant == tenant))
