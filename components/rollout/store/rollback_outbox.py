"""Rollbacks that nobody has been told of yet: written down with the move, gone when somebody has opened their events.

So none is lost with a cycle that fails after it, whoever made it and whoever finished it. Knows no scheduler.
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
    """Write it down within the transaction of its move."""
    connection.execute(sql.insert(ROLLBACK_OUTBOX), {"tenant": entry.tenant, "entry": json.dumps(asdict(entry))})


@contextmanager
def take_rollbacks(database: Database) -> Iterator[Sequence[LedgerEntry]]:
    """All of them, the oldest first, for nobody else meanwhile; a block that fails leaves them. Raises WorkspaceError.

    A process that dies at the end of the block may leave them too, so that they are told twice.
    """
    with database.transaction("the rollbacks that nobody was told of") as connection:
        rows = connection.execute(
            sql.delete(ROLLBACK_OUTBOX).returning(ROLLBACK_OUTBOX.c.id, ROLLBACK_OUTBOX.c.entry)
        ).all()
        yield [LedgerEntry(**json.loads(text)) for _, text in sorted(rows)]
