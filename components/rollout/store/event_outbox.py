"""Outbox of ledger entries whose events are not sent yet: filled with the entry, emptied by whoever sends the events.

So no event is lost if a run fails after its rollback or rejection. Knows no scheduler.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.tables import EVENT_OUTBOX
from components.rollout.types import LedgerEntry
from components.storage.database import Database


def add_event(connection: Connection, entry: LedgerEntry) -> None:
    """Add an entry within the transaction that writes it to the ledger."""
    connection.execute(sql.insert(EVENT_OUTBOX), {"tenant": entry.tenant, "entry": json.dumps(asdict(entry))})


def has_events(database: Database) -> bool:
    """Return whether an entry's event is not sent yet. Raises WorkspaceError."""
    with database.connect("the events in the outbox") as connection:
        return connection.execute(sql.select(EVENT_OUTBOX.c.id).limit(1)).first() is not None


@contextmanager
def take_events(database: Database) -> Iterator[Sequence[LedgerEntry]]:
    """Take all entries out of the outbox, oldest first, during a block; other processes wait. Raises WorkspaceError.

    If the block fails they stay in the outbox. They may stay also if the process dies at the end of the block, so an
    event can be sent twice.
    """
    with database.transaction("the events in the outbox") as connection:
        rows = connection.execute(sql.delete(EVENT_OUTBOX).returning(EVENT_OUTBOX.c.id, EVENT_OUTBOX.c.entry)).all()
        yield [LedgerEntry(**json.loads(text)) for _, text in sorted(rows)]
