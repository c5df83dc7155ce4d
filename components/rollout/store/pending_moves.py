"""A move that is about to be made: written down before MLflow's aliases change, gone once standing and ledger tell it.

What a killed process leaves here says whose move it was that MLflow shows. Knows no MLflow.
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
"""Where a tenant stands after a move, and the ledger's line on it."""


def save_pending_move(connection: Connection, move: RecordedMove) -> None:
    """Write it down, in the place of another of this tenant."""
    after, entry = move
    row = {"standing": json.dumps(to_row(after)), "entry": json.dumps(asdict(entry))}
    insert = make_insert(connection, PENDING_MOVES).values(tenant=after.tenant, **row)
    connection.execute(insert.on_conflict_do_update(index_elements=["tenant"], set_=row))


def read_pending_move(connection: Connection, tenant: str) -> RecordedMove | None:
    """What was about to be made, and is not recorded yet."""
    row = connection.execute(sql.select(PENDING_MOVES).where(PENDING_MOVES.c.tenant == tenant)).first()
    if row is None:
        return None
    return from_row(json.loads(row.standing)), LedgerEntry(**json.loads(row.entry))


def delete_pending_move(connection: Connection, tenant: str) -> None:
    """Forget it."""
    connection.execute(sql.delete(PENDING_MOVES).where(PENDING_MOVES.c.tenant == tenant))
