"""Copies of databases: SQLite while it is written, PostgreSQL by its own programs; refusals name what to do."""

import secrets
import sqlite3

import pytest
import sqlalchemy as sql

from components.errors import WorkspaceError
from components.storage import database_copies
from components.storage.database_copies import (
    copy_database,
    read_dialect,
    require_empty,
    require_programs,
    restore_database,
)


def test_a_copy_of_sqlite_has_what_is_committed_and_nothing_of_an_open_transaction(tmp_path):
    source = tmp_path / "source.db"
    writer = sqlite3.connect(source)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.execute("CREATE TABLE rows (value)")
    writer.execute("INSERT INTO rows VALUES (1)")
    writer.commit()
    writer.execute("INSERT INTO rows VALUES (2)")
    copy_database(f"sqlite:///{source}", tmp_path / "copy.db")
    writer.close()
    assert sorted(path.name for path in tmp_path.glob("copy.db*")) == ["copy.db"]
    assert sqlite3.connect(tmp_path / "copy.db").execute("SELECT value FROM rows").fetchall() == [(1,)]


def test_a_missing_or_damaged_sqlite_file_is_refused(tmp_path):
    with pytest.raises(WorkspaceError, match="no such file"):
        copy_database(f"sqlite:///{tmp_path}/none.db", tmp_path / "copy.db")
    (tmp_path / "bad.db").write_bytes(b"x" * 5000)
    with pytest.raises(WorkspaceError, match="not a database"):
        copy_database(f"sqlite:///{tmp_path}/bad.db", tmp_path / "copy.db")


def test_other_databases_and_missing_programs_are_refused(monkeypatch):
    with pytest.raises(WorkspaceError, match=r"mysql://ada:\*\*\*@host/x"):
        read_dialect("mysql://ada:secret@host/x")
    with pytest.raises(WorkspaceError, match="an empty PostgreSQL database; got sqlite"):
        require_empty("sqlite:///x.db")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WorkspaceError, match="no pg_dump on PATH; install PostgreSQL's client"):
        require_programs("pg_dump")


def test_the_password_is_not_among_the_arguments_and_a_named_schema_is():
    url = "postgresql+psycopg2://ada:s%40cret@host:99/name?options=-csearch_path%3Dfleet"
    address, environment = database_copies._make_address(url)
    assert "cret" not in address
    assert environment["PGPASSWORD"] == "s@cret"
    assert address.startswith("postgresql://ada@host:99/name")
    assert database_copies._list_schemas(sql.engine.make_url(url)) == ["fleet"]


@pytest.fixture
def make_database(postgresql_server):
    """A function that makes an empty PostgreSQL database and returns its URL."""
    engine = sql.create_engine(postgresql_server, isolation_level="AUTOCOMMIT")

    def make():
        name = f"copy_{secrets.token_hex(4)}"
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return postgresql_server.rpartition("/")[0] + f"/{name}"

    yield make
    engine.dispose()


@pytest.mark.slow
def test_postgresql_is_copied_and_restored_into_an_empty_database_only(make_database, tmp_path):
    source, target = make_database(), make_database()
    engine = sql.create_engine(source)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE rows (value INT)")
        connection.exec_driver_sql("INSERT INTO rows VALUES (1), (2)")
    engine.dispose()
    copy_database(source, tmp_path / "copy")
    require_empty(target)
    restore_database(tmp_path / "copy", target)
    engine = sql.create_engine(target)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT sum(value) FROM rows").scalar() == 3
    engine.dispose()
    with pytest.raises(WorkspaceError, match=r"1 tables in .*, such as rows"):
        require_empty(target)
    with pytest.raises(WorkspaceError, match="already exists"):
        restore_database(tmp_path / "copy", target)


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_named(postgresql_server, tmp_path):
    url = postgresql_server.rpartition("/")[0] + "/none"
    with pytest.raises(WorkspaceError, match='database "none" does not exist'):
        copy_database(url, tmp_path / "copy")
    with pytest.raises(WorkspaceError, match='database "none" does not exist'):
        require_empty(url)
