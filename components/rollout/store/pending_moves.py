"""A move that is about to be made: written down before MLflow's aliases change, gone once standing and ledger tell it.

What a killed process leaves here says whose move it was that MLflow shows. Knows no MLflow.
"""

import json
from dataclasses import asdict

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.database import insert_into
from components.rollout.store.tables import INTENTS
from components.rollout.store.tenant_state import from_row, to_row
from components.rollout.types import Entry, Standing

Moved = tuple[Standing, Entry]
"""Where a tenant stands after a move, and the ledger's line on it."""


def intend(connection: Connection, move: Moved) -> None:
    """Write it down, in the place of another of this tenant."""
    after, entry = move
    row = {"standing": json.dumps(to_row(after)), "entry": json.dumps(asdict(entry))}
    insert = insert_into(connection, INTENTS).values(tenant=after.tenant, **row)
    connection.execute(insert.on_conflict_do_update(index_elements=["tenant"], set_=row))


def intended(connection: Connection, tenant: str) -> Moved | None:
    """What was about to be made, and is not recorded yet."""
    row = connection.execute(sql.select(INTENTS).where(INTENTS.c.tenant == tenant)).first()
    if row is None:
        return None
    return from_row(json.loads(row.standing)), Entry(**json.loads(row.entry))


def drop(connection: Connection, tenant: str) -> None:
    """Forget it."""
    connection.execute(sql.delete(INTENTS).where(INTENTS.c.tenant == tenant))
