"""Every wait for a database ends: locks that others hold, slow statements, turns, and a server that is stopped."""

import os
import signal
import time
from contextlib import contextmanager

import pytest
from sqlalchemy.engine import make_url

from components.errors import WorkspaceError
from components.rollout.store.database import open_database_url
from components.storage.timeouts import DatabaseTimeouts, make_connect_arguments

SHORT = DatabaseTimeouts(connect=1, lock=1, statement=2, answer=3)
SECONDS = 8.0  # more than any of these, and what a busy machine adds


@pytest.fixture
def opened(postgresql_url):
    pair = [open_database_url(postgresql_url, SHORT) for _ in range(2)]
    yield pair
    for database in pair:
        database.close()


@contextmanager
def told(words):
    started = time.monotonic()
    with pytest.raises(WorkspaceError, match=words):
        yield
    assert time.monotonic() - started < SECONDS


@contextmanager
def stopped(*processes):
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def backend(connection):
    return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()


@pytest.mark.slow
def test_a_lock_and_a_slow_statement(opened):
    ours, other = opened
    with other.transaction("a lock") as connection:
        connection.exec_driver_sql("LOCK TABLE prefixfleet_standings")
        with told("lock timeout"), ours.connect("the standings") as blocked:
            blocked.exec_driver_sql("SELECT * FROM prefixfleet_standings")
    with told("statement timeout"), ours.connect("a nap") as connection:
        connection.exec_driver_sql("SELECT pg_sleep(60)")
    with ours.connect("one") as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


@pytest.mark.slow
def test_a_stopped_server_is_told_and_left(opened):
    ours, _ = opened
    with told("no answer within 3 s"), ours.connect("one") as connection, stopped(backend(connection)):
        connection.exec_driver_sql("SELECT 1")
    with told("no answer within 3 s"), ours.transaction("a row") as connection:
        connection.exec_driver_sql("CREATE TABLE passing (number int)")
        held = backend(connection)
        os.kill(held, signal.SIGSTOP)  # the commit gets no answer
    os.kill(held, signal.SIGCONT)
    with ours.connect("who serves") as connection:
        idle = backend(connection)
    with stopped(idle), ours.connect("one, by another way") as connection:
        assert backend(connection) != idle
    with ours.connect("the head of them all") as connection:
        head = connection.exec_driver_sql("SELECT pg_read_file('postmaster.pid')").scalar().split()[0]
        held = backend(connection)
    with stopped(int(head), held), told("timeout"), ours.connect("one") as connection:
        pass


@pytest.mark.slow
def test_turns_at_postgresql_end_with_their_holder(opened):
    ours, other = opened
    with other.lock("acme"):
        with told("the lock on acme.*lock timeout"), ours.lock("acme"):
            pass
        with ours.lock("birch"):
            pass
    with ours.lock("acme"):
        pass


def test_turns_at_sqlite(tmp_path):
    ours, other = (open_database_url(f"sqlite:///{tmp_path}/x.db", SHORT) for _ in range(2))
    with other.lock("acme"), told(f"process {os.getpid()}"), ours.lock("acme"):
        pass
    with ours.lock("acme"), other.transaction("meanwhile"):
        pass


def test_what_the_address_says_itself_wins():
    url = make_url("postgresql://ada@db/x?connect_timeout=3&options=-c%20statement_timeout%3D5s")
    given = make_connect_arguments(url, DatabaseTimeouts())
    assert "connect_timeout" not in given
    assert given["options"].split(" -c ")[-1] == "statement_timeout=5s"
