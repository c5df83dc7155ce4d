"""The ledger: every move of a version, who made it and why, with the figures. Lines are added, never changed.

Knows no policy: what happened is handed in.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.rollout.store.database import Database
from components.rollout.store.tables import LEDGER
from components.rollout.types import Entry


def write(connection: Connection, *entries: Entry) -> None:
    """Add lines within the transaction of what they tell."""
    rows = [
        {**{name: getattr(entry, name) for name in _PLAIN}, "figures": json.dumps(dict(entry.figures), sort_keys=True)}
        for entry in entries
    ]
    if rows:
        connection.execute(sql.insert(LEDGER), rows)


def add(database: Database, *entries: Entry) -> None:
    """Add lines in a transaction of their own. Raises WorkspaceError."""
    with database.writing("to write into the ledger") as connection:
        write(connection, *entries)


def history(database: Database, tenant: str | None = None) -> Sequence[Entry]:
    """All lines of a tenant, or of everybody, the oldest first. Raises WorkspaceError."""
    query = sql.select(LEDGER).order_by(LEDGER.c.id)
    if tenant is not None:
        query = query.where(LEDGER.c.tenant == tenant)
    with database.reading("the ledger") as connection:
        return [_entry(row._mapping) for row in connection.execute(query)]


_PLAIN = ("tenant", "by", "action", "from_version", "to_version", "why", "at")


def _entry(row: Mapping[Any, Any]) -> Entry:
    return Entry(**{name: row[name] for name in _PLAIN}, figures=json.loads(row["figures"]))
