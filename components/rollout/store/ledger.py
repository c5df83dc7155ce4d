"""The ledger: every move of a version, who made it and why, with the figures. Entries are added, never changed.

Knows no policy.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from components.errors import WorkspaceError
from components.rollout.store.ledger_chain import chain_rows
from components.rollout.store.tables import LEDGER
from components.rollout.types import LedgerAction, LedgerEntry
from components.storage.database import Database


def write_entries(connection: Connection, *entries: LedgerEntry) -> None:
    """Add entries within the transaction that makes their moves."""
    rows = [
        {
            **{name: getattr(entry, name) for name in _TEXT_COLUMNS},
            "figures": json.dumps(dict(entry.figures), sort_keys=True),
        }
        for entry in entries
    ]
    if rows:
        connection.execute(sql.insert(LEDGER), chain_rows(connection, rows))


def append_entries(database: Database, *entries: LedgerEntry) -> None:
    """Add entries in a transaction of their own. Raises WorkspaceError."""
    with database.transaction("to write to the ledger") as connection:
        write_entries(connection, *entries)


def read_history(database: Database, tenant: str | None = None) -> Sequence[LedgerEntry]:
    """Return all entries of a tenant, or of all tenants, oldest first. Raises WorkspaceError."""
    query = sql.select(LEDGER).order_by(LEDGER.c.id)
    if tenant is not None:
        query = query.where(LEDGER.c.tenant == tenant)
    with database.connect("the ledger") as connection:
        return [_to_entry(row) for row in connection.execute(query).mappings()]


def read_entries_between(database: Database, since: str, until: str) -> Sequence[LedgerEntry]:
    """Return the entries of all tenants after one time and until another, oldest first. Raises WorkspaceError."""
    query = sql.select(LEDGER).where(LEDGER.c.at > since, LEDGER.c.at <= until).order_by(LEDGER.c.id)
    with database.connect("the ledger") as connection:
        return [_to_entry(row) for row in connection.execute(query).mappings()]


def read_newest(database: Database, actions: Collection[LedgerAction]) -> dict[str, LedgerEntry]:
    """Return tenant -> its newest entry with one of these actions, for all tenants. Raises WorkspaceError."""
    newest = sql.select(sql.func.max(LEDGER.c.id)).where(LEDGER.c.action.in_(actions)).group_by(LEDGER.c.tenant)
    with database.connect("the newest entries of the ledger") as connection:
        rows = connection.execute(sql.select(LEDGER).where(LEDGER.c.id.in_(newest))).mappings()
        return {row["tenant"]: _to_entry(row) for row in rows}


_TEXT_COLUMNS = ("tenant", "by", "action", "from_version", "to_version", "why", "at", "origin")


def _to_entry(row: Mapping[Any, Any]) -> LedgerEntry:
    texts = {name: row[name] for name in _TEXT_COLUMNS}
    try:
        figures = json.loads(row["figures"])
    except (TypeError, ValueError, RecursionError):
        figures = None
    if not isinstance(figures, dict) or not all(isinstance(text, str) for text in texts.values()):
        got = f"line {row['id']}, which another program than PrefixFleet wrote or changed"
        fix = "see `prefixfleet history --verify`; restore the database from a backup"
        raise WorkspaceError("to read the ledger", got, fix)
    return LedgerEntry(**texts, figures=figures)
