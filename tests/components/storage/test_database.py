"""A database is opened by URL, keeps a transaction whole or not at all, and locks names between processes."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import wait_until

from components.errors import WorkspaceError
from components.storage.database import Database
from components.storage.migrations import Schema
from components.storage.timeouts import DatabaseTimeouts

SHORT = DatabaseTimeouts(lock=1)


@pytest.fixture
def open_database(database_url: str, schema: Schema) -> Iterator[Callable[[], Database]]:
    """A function that opens the same database, as another process would."""
    opened = []

    def make() -> Database:
        opened.append(Database(database_url, schema, SHORT, fix="ask ada"))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


def write(database: Database, text: str) -> None:
    with database.transaction("a note") as connection:
        connection.exec_driver_sql(f"INSERT INTO notes VALUES ('{text}', 1)")
        if text == "bad":
            raise ZeroDivisionError


def read(database: Database) -> list[str]:
    with database.connect("the notes") as connection:
        return list(connection.exec_driver_sql("SELECT text FROM notes ORDER BY text").scalars())


def test_many_threads_open_a_new_database(open_database: Callable[[], Database]) -> None:
    with ThreadPoolExecutor(6) as threads:
        opened = list(threads.map(lambda _: open_database(), range(6)))
    for number, database in enumerate(opened):
        write(database, str(number))
    assert read(opened[0]) == ["0", "1", "2", "3", "4", "5"]


def test_a_transaction_that_fails_leaves_nothing(open_database: Callable[[], Database]) -> None:
    database = open_database()
    with pytest.raises(ZeroDivisionError):
        write(database, "bad")
    write(database, "good")
    assert read(database) == ["good"]


def test_an_error_says_what_was_wanted_and_what_to_do(open_database: Callable[[], Database]) -> None:
    database = open_database()
    with pytest.raises(WorkspaceError) as caught, database.connect("the letters") as connection:
        connection.exec_driver_sql("SELECT * FROM letters")
    assert (caught.value.wanted, caught.value.fix) == ("the letters", "ask ada")
    assert database.url in caught.value.got


def test_a_named_lock_is_free_again_after_its_block(open_database: Callable[[], Database]) -> None:
    ours, other = open_database(), open_database()
    is_sqlite = ours.engine.dialect.name == "sqlite"
    with other.lock("acme"):
        with (
            pytest.raises(
                WorkspaceError, match=f"process {os.getpid()}" if is_sqlite else "the lock on acme.*lock timeout"
            ),
            ours.lock("acme"),
        ):
            pass
        with ours.lock("birch", wait_s=0.0):
            pass
    with ours.lock("acme"):
        write(other, "meanwhile")
    assert read(ours) == ["meanwhile"]


def test_processes_get_a_named_lock_in_the_order_in_which_they_came(open_database: Callable[[], Database]) -> None:
    databases, told, got = [open_database() for _ in range(4)], [], []

    def wait(number: int) -> None:
        with databases[number].lock("acme", wait_s=60, on_wait=lambda: told.append(number)):
            got.append(number)

    with ThreadPoolExecutor(3) as threads:
        with databases[3].lock("acme"):
            waiting = []
            for number in range(3):
                waiting.append(threads.submit(wait, number))
                time.sleep(0.3)
            wait_until(lambda: len(told) == 3, "all three to say that they wait")
            assert got == []
        for one in waiting:
            one.result()
    assert got == [0, 1, 2]


def test_sqlite_makes_its_folder_and_a_write_ahead_log(tmp_path, schema: Schema) -> None:
    database = Database(f"sqlite:///{tmp_path}/deep/inside/x.db", schema)
    with database.connect("the mode") as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


@pytest.mark.parametrize("url", ["mysql://ada:secret@db/x", "nonsense", "postgresql://ada:secret@127.0.0.1:1/x"])
def test_a_url_that_cannot_be_opened_is_an_error_without_its_password(url: str, schema: Schema) -> None:
    with pytest.raises(WorkspaceError) as caught:
        Database(url, schema)
    assert "secret" not in str(caught.value)
    assert url.split(":")[0] in str(caught.value)
