"""The rollout's empty tables, made once in a process: every workspace and most servers of tests open a new database.

A new SQLite database gets a copy of what the revisions have made of the first one. Every other database, and one that
has any table, is upgraded as usual.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from threading import Lock
from typing import Any

from components.rollout.store.migrations import SCHEMA
from components.storage.database import Database


class PreparedTables:
    """Takes the place of `Database.upgrade`."""

    def __init__(self, upgrade: Callable[..., list[str]]) -> None:
        self._upgrade = upgrade
        self._made = sqlite3.connect(":memory:", check_same_thread=False)
        self._applied: list[str] = []
        self._lock = Lock()

    def upgrade(self, database: Database, **options: Any) -> list[str]:
        """Apply the revisions, or copy their tables; returns the revisions' ids."""
        if options or database._schema is not SCHEMA or database.engine.dialect.name != "sqlite":
            return self._upgrade(database, **options)
        was_empty = False
        with suppress(sqlite3.Error), self._lock, closing(database.engine.raw_connection()) as pooled:
            connection: Any = pooled.driver_connection
            was_empty = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
            if was_empty and self._applied:
                self._made.backup(connection)
                return self._applied.copy()
        applied = self._upgrade(database)  # says in the product's words what is wrong with the database, if anything is
        if was_empty:
            with self._lock, closing(database.engine.raw_connection()) as pooled:
                pooled.driver_connection.backup(self._made)
                self._applied = applied
        return applied
