"""MLflow's tables of registered models, read with SQL: no import of MLflow, which takes seconds, and few queries.

Knows the tables of one revision of MLflow's database; `DatabaseReader` refuses every other. Tests compare the revision
and the columns with the installed MLflow, and the results with MLflow's own search. Writes nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from components.errors import RegistryError
from components.storage.timeouts import (
    DatabaseTimeouts,
    enforce_answer_timeout,
    make_connect_arguments,
    replace_dead_connections,
)
from components.storage.urls import format_first_line, hide_password

REVISION = "dc11669786a5"
"""Alembic revision of MLflow's database whose tables these are."""
WORKSPACE = "default"
"""MLflow's workspace of every object in a database that is used without MLflow's workspaces."""
DELETED_STAGE = "Deleted_Internal"
"""Stage of a deleted version, whose row MLflow keeps."""

_TIMEOUTS = DatabaseTimeouts(connect=5, lock=5)


def _make_table(name: str, *columns: str) -> sql.TableClause:
    texts = (sql.column(column, sql.String) for column in ("workspace", "name", *columns))
    return sql.table(name, *texts, sql.column("version", sql.Integer))


ALIASES = _make_table("registered_model_aliases", "alias")
VERSIONS = _make_table("model_versions", "run_id", "current_stage", "source")
CREATED = sql.literal_column("model_versions.creation_time", sql.BigInteger)
"""When a version was registered, in milliseconds since 1970."""
TAGS = _make_table("model_version_tags", "key", "value")


class DatabaseReader:
    """MLflow's database, opened for reading; may be shared by threads."""

    def __init__(self, uri: str) -> None:
        """Open nothing yet."""
        self._uri = uri
        self._is_known = False
        self._lock = threading.Lock()

    @contextmanager
    def connect(self) -> Iterator[Connection | None]:
        """Yield a connection; None if MLflow must be asked: no such SQLite file, no tables, or another revision.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database does not answer in time, or refuses.
        """
        if self._is_missing():
            yield None
            return
        with self._engine.connect() as connection, _limit_answer(connection):
            yield connection if self._has_known_tables(connection) else None

    def _is_missing(self) -> bool:
        return self._url.get_backend_name() == "sqlite" and not Path(self._url.database or "").is_file()

    @cached_property
    def _url(self) -> URL:
        return make_url(self._uri)

    @cached_property
    def _engine(self) -> Engine:
        """A new connection for each use of SQLite, since its file may be replaced; a pool for servers."""
        match self._url.get_backend_name():
            case "sqlite":
                return sql.create_engine(self._url, connect_args={"timeout": _TIMEOUTS.lock}, poolclass=NullPool)
            case "postgresql":
                engine = sql.create_engine(self._url, connect_args=make_connect_arguments(self._url, _TIMEOUTS))
                replace_dead_connections(engine, _TIMEOUTS)
                return engine
        return sql.create_engine(self._url, pool_pre_ping=True, connect_args={"connect_timeout": _TIMEOUTS.connect})

    def _has_known_tables(self, connection: Connection) -> bool:
        with self._lock:
            self._is_known = self._is_known or _read_revision(connection) == REVISION
            return self._is_known

    def read_revision(self) -> str | None:
        """Return the revision of the tables; None: there is no such SQLite file, or there are no tables.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database does not answer in time, or refuses.
        """
        if self._is_missing():
            return None
        with self._engine.connect() as connection, _limit_answer(connection):
            return _read_revision(connection)


def read_revision(database: str) -> str | None:
    """Return the revision of MLflow's tables in a database; None: there are none.

    Raises:
        RegistryError: the database does not answer.
    """
    try:
        return DatabaseReader(database).read_revision()
    except SQLAlchemyError as problem:
        got = f"{format_first_line(problem)} ({hide_password(database)})"
        fix = "start MLflow's database, or correct its address"
        raise RegistryError("the revision of MLflow's tables", got, fix) from problem


def _read_revision(connection: Connection) -> str | None:
    if not sql.inspect(connection).has_table("alembic_version"):
        return None
    query = sql.select(sql.column("version_num", sql.String)).select_from(sql.table("alembic_version"))
    return connection.execute(query).scalars().first()


@contextmanager
def _limit_answer(connection: Connection) -> Iterator[None]:
    if connection.dialect.name == "postgresql":
        with enforce_answer_timeout(connection, _TIMEOUTS):
            yield
    else:
        yield
