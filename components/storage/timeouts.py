"""Limits on every wait for a PostgreSQL database, also for a server that has stopped answering.

PostgreSQL itself cancels slow statements and waits for locks. TCP detects a network that drops packets. A server that
is suspended, or whose disk hangs, keeps the connection open and sends nothing: then a timer shuts the socket down, and
the waiting call fails. Does not know tables.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as UnansweredError


@dataclass(frozen=True, kw_only=True)
class DatabaseTimeouts:
    """Seconds after which a wait for a database fails."""

    connect: int = 10
    lock: int = 10
    """Waiting for a row, a table or a named lock that another session holds."""
    statement: int = 30
    """Running one statement; PostgreSQL only."""
    answer: float = 60
    """All statements of one `connect` or `transaction` block together; PostgreSQL only."""


_TCP_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""Of libpq, in seconds: an idle connection is probed after 10 s, and closed after three unanswered probes."""


def make_connect_arguments(url: URL, timeouts: DatabaseTimeouts) -> dict[str, Any]:
    """Return libpq's connection arguments for these timeouts; settings in the URL itself win."""
    ours = f"-c statement_timeout={timeouts.statement}s -c lock_timeout={timeouts.lock}s"
    defaults = {"connect_timeout": timeouts.connect, "tcp_user_timeout": 1000 * timeouts.statement, **_TCP_KEEPALIVE}
    kept = {name: value for name, value in defaults.items() if name not in url.query}
    return {**kept, "options": f"{ours} {url.query.get('options', '')}".rstrip()}


def replace_dead_connections(engine: Engine, timeouts: DatabaseTimeouts) -> None:
    """Test each pooled connection before use, and let the pool open another if it does not answer in time.

    SQLAlchemy's own `pool_pre_ping` does the same without a time limit.
    """

    def ping(connection: Any, *_: object) -> None:
        try:
            with _shut_down_after(connection, timeouts.connect), connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.rollback()
        except connection.Error as error:
            raise DisconnectionError(str(error)) from error

    sql.event.listen(engine, "checkout", ping)


@contextmanager
def enforce_answer_timeout(connection: Connection, timeouts: DatabaseTimeouts) -> Iterator[None]:
    """Limit the total time of a block's statements and commit to `timeouts.answer` seconds; no limit for SQLite.

    Raises:
        sqlalchemy.exc.TimeoutError: the block took longer.
    """
    if connection.dialect.name == "sqlite":
        yield
        return
    with _shut_down_after(connection.connection.dbapi_connection, timeouts.answer) as is_shut_down:
        try:
            yield
        except DBAPIError as error:
            if is_shut_down():
                raise UnansweredError(f"no answer within {timeouts.answer} s") from error
            raise


@contextmanager
def _shut_down_after(connection: Any, seconds: float) -> Iterator[Callable[[], bool]]:
    """Shut down the socket of a psycopg2 connection if the block takes longer; yields whether that has happened."""
    lock, is_over, is_shut_down = threading.Lock(), threading.Event(), threading.Event()

    def shut_down() -> None:
        with lock:
            if not is_over.is_set():
                is_shut_down.set()
                with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
                    duplicate.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield is_shut_down.is_set
    finally:
        timer.cancel()
        with lock:
            is_over.set()
