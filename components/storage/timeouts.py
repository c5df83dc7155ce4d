"""Ways to a database that end: every wait for PostgreSQL or SQLite has a limit, also for a server that has stopped.

PostgreSQL itself ends statements and waits for locks. A network that swallows packets is found by TCP. A server that is
stopped, or whose disk hangs, keeps a connection open and says nothing: there the way is cut by a timer of ours. Knows
no table.
"""

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as UnansweredError

from components.storage.atomic_files import convert_disk_errors


@dataclass(frozen=True, kw_only=True)
class DatabaseTimeouts:
    """Seconds."""

    connect: int = 10
    lock: int = 10
    """For rows, tables and turns that another holds."""
    statement: int = 30
    answer: int = 60
    """For all that one block of reading or writing asks; PostgreSQL alone."""


_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
_JOURNAL_WAIT_SECONDS = 10
_TCP_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""TCP of an idle connection, in seconds."""


def open_engine(url: URL, limits: DatabaseTimeouts) -> Engine:
    """An engine of PostgreSQL or SQLite; connects to nothing yet. Raises WorkspaceError: no folder can be made."""
    if url.get_backend_name() == "sqlite":
        if url.database:
            with convert_disk_errors(f"make the folder of {url.database}"):
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sql.create_engine(url, connect_args={"timeout": limits.lock})
        sql.event.listen(engine, "connect", _set_pragmas)
        return engine
    batched = {"executemany_mode": "values_plus_batch"}  # of psycopg2: a call a hundred rows, not one each
    engine = sql.create_engine(url, connect_args=_make_connect_arguments(url, limits), **batched)

    def ping(connection: Any, *_: object) -> None:
        """As pool_pre_ping does, but never for ever."""
        try:
            with _shut_down_after(connection, limits.connect), connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.rollback()
        except connection.Error as problem:
            raise DisconnectionError(str(problem)) from problem

    sql.event.listen(engine, "checkout", ping)
    return engine


@contextmanager
def enforce_answer_timeout(connection: Connection, limits: DatabaseTimeouts) -> Iterator[None]:
    """Let a block's questions and its commit take no longer than the limits. Raises sqlalchemy's TimeoutError."""
    if connection.dialect.name == "sqlite":
        yield
        return
    with _shut_down_after(connection.connection.dbapi_connection, limits.answer) as has_blown:
        try:
            yield
        except DBAPIError as problem:
            if has_blown():
                raise UnansweredError(f"no answer within {limits.answer} s") from problem
            raise


def _make_connect_arguments(url: URL, limits: DatabaseTimeouts) -> dict[str, Any]:
    """Of libpq; what the URL says itself wins."""
    ours = f"-c statement_timeout={limits.statement}s -c lock_timeout={limits.lock}s"
    defaults = {"connect_timeout": limits.connect, "tcp_user_timeout": 1000 * limits.statement, **_TCP_KEEPALIVE}
    kept = {name: value for name, value in defaults.items() if name not in url.query}
    return {**kept, "options": f"{ours} {url.query.get('options', '')}".rstrip()}


@contextmanager
def _shut_down_after(connection: Any, seconds: float) -> Iterator[Any]:
    """Shut the socket of a psycopg2 connection after so long: whoever waits for an answer gets an error."""
    lock, over, blown = threading.Lock(), threading.Event(), threading.Event()

    def blow() -> None:
        with lock:
            if not over.is_set():
                blown.set()
                with socket.socket(fileno=os.dup(connection.fileno())) as way:
                    way.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, blow)
    timer.daemon = True
    timer.start()
    try:
        yield blown.is_set
    finally:
        timer.cancel()
        with lock:
            over.set()


def _set_pragmas(connection: Any, _record: object) -> None:
    """Set them; the first who comes changes the file's journal, for which SQLite lets nobody else wait by itself."""
    cursor, until_s = connection.cursor(), time.monotonic() + _JOURNAL_WAIT_SECONDS
    for pragma in _PRAGMAS:
        while True:
            try:
                cursor.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError as problem:
                if problem.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                    raise
                time.sleep(0.01)
    cursor.close()
