"""Every wait for PostgreSQL ends with an error: for a lock, a slow statement, and a server that is suspended.

What is waited for is the error itself; only pytest's own timeout ends a wait that has no limit.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy.engine import Connection, make_url

from components.errors import WorkspaceError
from components.storage.database import Database
from components.storage.migrations import Schema
from components.storage.timeouts import DatabaseTimeouts, make_connect_arguments

SHORT = DatabaseTimeouts(connect=1, lock=1, statement=2, answer=3)


@pytest.fixture
def open_database(make_postgresql_url: Callable[[], str], schema: Schema) -> Iterator[Callable[[], Database]]:
    """A function that opens the same PostgreSQL database with short timeouts."""
    url, opened = make_postgresql_url(), []
    Database(url, schema).close()

    def make() -> Database:
        opened.append(Database(url, schema, SHORT))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


def catch_errors(*calls: Callable[[], object]) -> list[str]:
    """Run all calls at the same time; each must fail. Returns their messages."""

    def run(call: Callable[[], object]) -> str:
        with pytest.raises(WorkspaceError) as caught:
            call()
        return str(caught.value)

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def run(database: Database, statement: str) -> object:
    with database.connect("an answer") as connection:
        return connection.exec_driver_sql(statement).scalar()


@contextmanager
def suspend(*processes: int) -> Iterator[None]:
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def find_backend(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())


@pytest.mark.slow
def test_waiting_for_a_locked_table_and_for_a_slow_statement_ends(open_database: Callable[[], Database]) -> None:
    ours, other = open_database(), open_database()
    with other.transaction("a lock") as connection:
        connection.exec_driver_sql("LOCK TABLE notes")
        locked, slow = catch_errors(lambda: run(ours, "SELECT * FROM notes"), lambda: run(ours, "SELECT pg_sleep(60)"))
    assert "lock timeout" in locked
    assert "statement timeout" in slow
    assert run(ours, "SELECT 1") == 1


@pytest.mark.slow
def test_waiting_for_a_suspended_server_ends(open_database: Callable[[], Database]) -> None:
    def ask() -> None:
        with open_database().connect("one") as connection, suspend(find_backend(connection)):
            connection.exec_driver_sql("SELECT 1")

    suspended = []

    def commit() -> None:
        with open_database().transaction("a row") as connection:
            connection.exec_driver_sql("INSERT INTO notes VALUES ('first')")
            suspended.append(find_backend(connection))
            os.kill(suspended[0], signal.SIGSTOP)

    try:
        messages = catch_errors(ask, commit)
    finally:
        for process in suspended:
            os.kill(process, signal.SIGCONT)
    assert all("no answer within 3 s" in message for message in messages)


@pytest.mark.slow
def test_a_suspended_connection_of_the_pool_is_replaced(open_database: Callable[[], Database]) -> None:
    database = open_database()
    with database.connect("the first connection") as connection:
        first = find_backend(connection)
    with suspend(first), database.connect("another one") as connection:
        assert find_backend(connection) != first


@pytest.mark.slow
def test_connecting_to_a_suspended_server_ends(open_database: Callable[[], Database]) -> None:
    database = open_database()
    with database.connect("the server's processes") as connection:
        parent = int(str(connection.exec_driver_sql("SELECT pg_read_file('postmaster.pid')").scalar()).split()[0])
        backend = find_backend(connection)
    with suspend(parent, backend):
        (message,) = catch_errors(lambda: run(database, "SELECT 1"))
    assert "timeout" in message


def test_settings_in_the_url_win() -> None:
    url = make_url("postgresql://ada@db/x?connect_timeout=3&options=-c%20statement_timeout%3D5s")
    arguments = make_connect_arguments(url, DatabaseTimeouts())
    assert "connect_timeout" not in arguments
    assert arguments["options"].split(" -c ")[-1] == "statement_timeout=5s"
