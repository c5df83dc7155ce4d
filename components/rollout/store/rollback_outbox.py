"""Outbox of rollbacks whose events are not sent yet: filled with the move, emptied by whoever sends the events.

So no event is lost if a cycle fails after its rollback. Knows no scheduler.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import ROLLBACK_OUTBOX
from components.rollout.types import LedgerEntry
from components.storage.database import Database


def add_rollback(connection: Connection, entry: LedgerEntry) -> None:
    """Add a rollback within the transaction of its move."""
    connection.execute(sql.insert(ROLLBACK_OUTBOX), {"tenant": entry.tenant, "entry": json.dumps(asdict(entry))})


@contextmanager
def take_rollbacks(database: Database) -> Iterator[Sequence[LedgerEntry]]:
    """Take all rollbacks out of the outbox, oldest first, during a block; other processes wait. Raises WorkspaceError.

    If the block fails they stay in the outbox. They may stay also if the process dies at the end of the block, so an
    event can be sent twice.
    """
    with database.transaction("the rollbacks in the outbox") as connection:
        rows = connection.execute(
            sql.delete(ROLLBACK_OUTBOX).returning(ROLLBACK_OUTBOX.c.id, ROLLBACK_OUTBOX.c.entry)
        ).all()
        yield [LedgerEntry(**json.loads(text)) for _, text in sorted(rows)]
