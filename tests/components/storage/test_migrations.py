"""Tables are made and changed by revisions: without loss, without noise, once among many processes."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from waiting import LIMIT_S, wait_until

from components.errors import WorkspaceError
from components.storage.database import Database
from components.storage.migrations import Revision, Schema, list_pending

REPOSITORY = Path(__file__).parents[3]
OPEN = """
import sys
from pathlib import Path
from components.storage.database import Database
from components.storage.migrations import Revision, Schema, list_pending

sys.stdin.readline()
schema = Schema(folder=Path(sys.argv[2]), head="0002", version_table="notes_version")
Database(sys.argv[1], schema).close()
if len(sys.argv) > 3:
    print("alembic" in sys.modules)
"""


@contextmanager
def opened(url: str, schema: Schema) -> Iterator[Database]:
    database = Database(url, schema)
    yield database
    database.close()


def read(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.connect("rows") as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def start(url: str, schema: Schema, *arguments: str) -> "subprocess.Popen[str]":
    """A process that opens the database once it reads a line."""
    return subprocess.Popen(
        [sys.executable, "-c", OPEN, url, str(schema.folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
    )


def finish(processes: Sequence["subprocess.Popen[str]"]) -> list[tuple[int, str]]:
    """Let all of them open the database; returns exit statuses and all output."""
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return [(process.wait(LIMIT_S), process.stdout.read() if process.stdout else "") for process in processes]


def test_a_filled_database_is_upgraded_without_loss(database_url: str, schema: Schema) -> None:
    with (
        opened(database_url, replace(schema, head="0001")) as database,
        database.transaction("notes") as connection,
    ):
        connection.exec_driver_sql("INSERT INTO notes VALUES ('first'), ('second')")
    for _ in range(2):
        with opened(database_url, schema) as database:
            assert read(database, "SELECT text, stars FROM notes ORDER BY text") == [("first", 3), ("second", 3)]
            assert read(database, "SELECT version_num FROM notes_version") == [("0002",)]


def test_tables_without_a_revision_are_adopted(database_url: str, schema: Schema) -> None:
    engine = sql.create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE notes (text TEXT NOT NULL)")
        connection.exec_driver_sql("INSERT INTO notes VALUES ('first')")
    engine.dispose()
    with opened(database_url, schema) as database:
        assert read(database, "SELECT text, stars FROM notes") == [("first", 3)]


def test_a_failed_revision_changes_nothing(database_url: str, schema: Schema) -> None:
    second = schema.folder / "revision_0002.py"
    good = second.read_text()
    second.write_text(good + "    operations.execute('nonsense')\n")
    with pytest.raises(WorkspaceError, match="nonsense"):
        Database(database_url, schema)
    second.write_text(good)
    with opened(database_url, replace(schema, needs="0002")) as database:  # a schema's files are read once in a process
        assert read(database, "SELECT text, stars FROM notes") == []


def test_tables_of_a_newer_release_are_refused(database_url: str, schema: Schema) -> None:
    with opened(database_url, schema):
        pass
    with opened(database_url, replace(schema, head="0001")) as old:  # it only has a column more
        assert read(old, "SELECT text FROM notes") == []
        assert read(old, "SELECT version_num FROM notes_version") == [("0002",)]
        with old.transaction("another oldest code") as connection:
            connection.exec_driver_sql("UPDATE notes_version_oldest_code SET revision = '0002'")
    with pytest.raises(WorkspaceError, match=r"revision 0002, for code of revision 0002 or newer; upgrade PrefixFleet"):
        Database(database_url, replace(schema, head="0001"))


def test_a_current_database_is_opened_with_one_query(database_url: str, schema: Schema) -> None:
    statements = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    with opened(database_url, schema):
        sql.event.listen(sql.Engine, "before_cursor_execute", note)
        try:
            with opened(database_url, schema):
                pass
        finally:
            sql.event.remove(sql.Engine, "before_cursor_execute", note)
    assert [statement.split()[-1] for statement in statements] == ["notes_version"]


THIRD = """
\"\"\"Stars are gone.\"\"\"

revision, down_revision, kind, oldest_code = "0003", "0002", "contract", "0002"

def upgrade(operations):
    operations.drop_column("notes", "stars")
"""


def contracted(schema: Schema) -> Schema:
    """The schema of a later release, which no longer uses a column and has a revision that removes it."""
    (schema.folder / "revision_0003.py").write_text(THIRD)
    return replace(schema, head="0003", needs="0002")


def test_a_revision_that_contracts_waits_for_a_person(database_url: str, schema: Schema) -> None:
    later = contracted(schema)
    with opened(database_url, later) as database:
        with database.connect("what is to be done") as connection:
            assert list_pending(connection, later) == [Revision("0003", "contract", "Stars are gone.")]
        with opened(database_url, schema) as old:
            assert read(old, "SELECT stars FROM notes") == []
        assert (database.upgrade(), database.upgrade(contract=True)) == ([], ["0003"])
        assert database.upgrade(contract=True) == []
        assert read(database, "SELECT text FROM notes") == []
        with opened(database_url, schema) as old:  # the release before does not use the column any more
            assert read(old, "SELECT revision FROM notes_version_oldest_code") == [("0002",)]
    with pytest.raises(WorkspaceError, match=r"revision 0003, for code of revision 0002 or newer; upgrade PrefixFleet"):
        Database(database_url, replace(schema, head="0001"))


def test_a_release_that_expands_again_asks_to_contract_first(database_url: str, schema: Schema) -> None:
    with opened(database_url, schema):
        pass
    fourth = (schema.folder / "revision_0002.py").read_text().replace("stars", "moons")
    fourth = fourth.replace("0002", "0004").replace("0001", "0003")
    (schema.folder / "revision_0004.py").write_text(fourth)
    later = replace(contracted(schema), head="0004", needs="0004")
    with pytest.raises(
        WorkspaceError, match=r"0003, removes what older .* run `prefixfleet upgrade --tables --contract`"
    ):
        Database(database_url, later)
    database = Database(database_url, later, is_prepared=False)
    assert database.upgrade(contract=True) == ["0003", "0004"]
    database.close()


@pytest.mark.slow
def test_a_migration_does_not_hold_up_others_while_it_waits_for_a_table(
    make_postgresql_url: Callable[[], str], schema: Schema
) -> None:
    """PostgreSQL lets every later statement on a table wait behind a change of it that waits."""
    url = make_postgresql_url()
    Database(url, replace(schema, head="0001")).close()
    waits = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
    with (
        opened(url, replace(schema, head="0001")) as old,
        ThreadPoolExecutor(1) as threads,
        old.connect("a long look at the notes") as reader,
    ):
        reader.exec_driver_sql("SELECT text FROM notes").all()
        migration = threads.submit(Database, url, schema)
        for _ in range(2):
            wait_until(lambda: read(old, waits) != [(0,)], "the migration to wait for the table")
            assert read(old, "SELECT text FROM notes") == []
        reader.commit()
        migration.result().close()
        assert read(old, "SELECT version_num FROM notes_version") == [("0002",)]


def test_logging_stays_as_it_is(tmp_path: Path, schema: Schema) -> None:
    loggers = [logging.getLogger(name) for name in ("", "alembic", "sqlalchemy", __name__)]
    before = [(one.level, one.disabled, one.propagate, list(one.handlers)) for one in loggers]
    with opened(f"sqlite:///{tmp_path}/x.db", schema):
        pass
    assert [(one.level, one.disabled, one.propagate, list(one.handlers)) for one in loggers] == before


@pytest.mark.slow
def test_many_processes_open_a_new_database_at_the_same_time(database_url: str, schema: Schema) -> None:
    processes = [start(database_url, schema) for _ in range(3)]
    assert finish(processes) == [(0, "")] * 3
    assert finish([start(database_url, schema, "list modules")]) == [(0, "False\n")]  # nothing to do: no Alembic
    with opened(database_url, schema) as database:
        assert read(database, "SELECT version_num FROM notes_version") == [("0002",)]
