"""A PostgreSQL or SQLite database: opened by URL, with transactions, locks between processes, and our errors.

Whoever has tables hands in their revisions. Knows no table.
"""

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from components.errors import WorkspaceError
from components.storage.atomic_files import TELL_AFTER_S, convert_disk_errors, hold_file_lock
from components.storage.migrations import Schema, is_refused_lock, is_usable, upgrade_once
from components.storage.patience import Patience
from components.storage.timeouts import (
    DatabaseTimeouts,
    enforce_answer_timeout,
    make_connect_arguments,
    replace_dead_connections,
)
from components.storage.urls import format_first_line, hide_password

DIALECTS = ("postgresql", "sqlite")

_NAMED_LOCK_CLASS = 7_312_004
"""PostgreSQL: the first key of the advisory locks; the second is a hash of the name."""
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
_JOURNAL_WAIT_SECONDS = 10
_POOL_OVERFLOW = 21
"""Connections of one process beyond the five that stay open."""
_LOCK_FILE_DIGITS = 3
"""SQLite: hexadecimal digits of a lock file's name."""
_WANTED_TABLES = "tables that this release can use"
_UPGRADE_PATIENCE_S = 120.0
_LOCK_FIX = "wait until that process ends, or stop it, and run again"
_FIX = "check that it runs, that its disk has free space and that no other session blocks its tables"


class Database:
    """A database with the tables of a schema; may be shared by threads."""

    def __init__(
        self,
        url: str,
        schema: Schema,
        timeouts: DatabaseTimeouts | None = None,
        *,
        fix: str = _FIX,
        is_prepared: bool = True,
    ) -> None:
        """Connect, and apply the revisions that only add to the tables; see `components.storage.migrations`.

        `fix`: what users are told to do when the database fails. Without `is_prepared` nothing is read or changed.

        Raises:
            WorkspaceError: the URL is not of PostgreSQL or SQLite; the database cannot be reached or written; or its
                tables are of a newer release that has removed what this one uses.
        """
        self.url, self._schema, self._timeouts, self._fix = url, schema, timeouts or DatabaseTimeouts(), fix
        self.engine = _make_engine(_parse_url(url), self._timeouts)
        if is_prepared:
            with self.connect(_WANTED_TABLES) as connection:
                usable = is_usable(connection, schema)
            if not usable:
                self.upgrade()

    def upgrade(self, *, contract: bool = False) -> list[str]:
        """Apply the revisions that the tables do not have; return their ids.

        Each is a transaction of its own. One that has to wait for others' use of a table gives up after two seconds, so
        that they do not wait behind it, and is tried again for two minutes. With `contract` also those are applied that
        remove what older releases use.

        Raises:
            WorkspaceError: see `upgrade_once`.
        """
        applied: list[str] = []
        patience = Patience(_UPGRADE_PATIENCE_S)
        while True:
            try:
                with self.transaction(_WANTED_TABLES) as connection:
                    revision = upgrade_once(connection, self._schema, contract=contract)
            except WorkspaceError as error:
                if not is_refused_lock(error.__cause__) or not patience.wait():
                    raise
                continue
            if revision is None:
                return applied
            applied.append(revision)
            patience = Patience(_UPGRADE_PATIENCE_S)

    @contextmanager
    def connect(self, wanted: str) -> Iterator[Connection]:
        """A connection for reading. `wanted` is the first beat of its errors. Raises WorkspaceError."""
        with (
            self._convert_errors(wanted),
            self.engine.connect() as connection,
            enforce_answer_timeout(connection, self._timeouts),
        ):
            yield connection

    @contextmanager
    def transaction(self, wanted: str) -> Iterator[Connection]:
        """One transaction: committed at the block's end, rolled back if the block raises. Raises WorkspaceError."""
        with self.connect(wanted) as connection, connection.begin():
            yield connection

    @contextmanager
    def lock(
        self, name: str, *, wait_s: float | None = None, on_wait: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """Hold the lock of this name during the block, against all processes that use this database.

        Processes that wait get it in the order in which they came. `wait_s` is the longest wait (None: the lock
        timeout); `on_wait` is called once if it takes more than two seconds. The lock is released when its holder ends,
        even by a crash.

        Raises:
            WorkspaceError: the lock is not free within `wait_s` seconds; or the database does not answer.
        """
        seconds = self._timeouts.lock if wait_s is None else wait_s
        if self.engine.dialect.name == "sqlite":
            with hold_file_lock(self._get_lock_file(name), Path(name), _LOCK_FIX, wait_s=seconds, on_wait=on_wait):
                yield
            return
        with self._convert_errors(f"the lock on {name}"), self.engine.connect() as holder:
            timeouts = replace(self._timeouts, answer=self._timeouts.answer + seconds)
            with enforce_answer_timeout(holder, timeouts), _call_after(TELL_AFTER_S, on_wait):
                for setting, limit_s in (("lock_timeout", seconds), ("statement_timeout", timeouts.answer)):
                    holder.exec_driver_sql(f"SET LOCAL {setting} = {max(1, int(1000 * limit_s))}")
                take = sql.func.pg_advisory_xact_lock(_NAMED_LOCK_CLASS, sql.func.hashtext(name))
                holder.execute(sql.select(take))
            yield
            with enforce_answer_timeout(holder, self._timeouts):
                holder.rollback()

    def _get_lock_file(self, name: str) -> Path:
        """Return one of a fixed number of files: names rarely share one, and no name stays behind."""
        number = hashlib.sha256(name.encode()).hexdigest()[:_LOCK_FILE_DIGITS]
        return Path(f"{self.engine.url.database or 'memory'}.locks") / number

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _convert_errors(self, wanted: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            got = f"{format_first_line(error)} (database {hide_password(self.url)})"
            raise WorkspaceError(wanted, got, self._fix) from error


@contextmanager
def _call_after(seconds: float, call: Callable[[], None] | None) -> Iterator[None]:
    """Call a function in a thread if the block takes longer."""
    timer = threading.Timer(seconds, call or (lambda: None))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def make_insert(connection: Connection, table: sql.Table) -> "postgresql.Insert | sqlite.Insert":
    """Return an insert in the database's own dialect, which has `on_conflict_do_...`."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        parsed = None
    if parsed is None or parsed.get_backend_name() not in DIALECTS:
        raise WorkspaceError("a database URL", hide_password(url), "set a URL that begins with postgresql: or sqlite:")
    return parsed


def _make_engine(url: URL, timeouts: DatabaseTimeouts) -> Engine:
    """Return an engine that has not connected yet. Raises WorkspaceError: SQLite's folder cannot be made."""
    if url.get_backend_name() == "sqlite":
        if url.database:
            with convert_disk_errors(f"make the folder of {url.database}"):
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        overflow = {"max_overflow": _POOL_OVERFLOW} if url.database else {}
        engine = sql.create_engine(url, connect_args={"timeout": timeouts.lock}, **overflow)
        sql.event.listen(engine, "connect", _set_pragmas)
        return engine
    arguments = make_connect_arguments(url, timeouts)
    # values_plus_batch: psycopg2 sends many rows in one call, not one call a row.
    engine = sql.create_engine(
        url,
        connect_args=arguments,
        executemany_mode="values_plus_batch",
        client_encoding="utf8",
        max_overflow=_POOL_OVERFLOW,
    )
    replace_dead_connections(engine, timeouts)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    """Set SQLite's pragmas. The first connection changes the file's journal mode, which others must retry for."""
    cursor, until_s = connection.cursor(), time.monotonic() + _JOURNAL_WAIT_SECONDS
    for pragma in _PRAGMAS:
        while True:
            try:
                cursor.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                    raise
                time.sleep(0.01)
    cursor.close()
