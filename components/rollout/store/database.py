"""Where the rollout's tables lie: MLflow's database when that is PostgreSQL, else SQLite at var/prefixfleet.db.

Makes the tables where they are missing, lets one mover at a time at a tenant, and turns a database's complaints into
ours. The environment variable PREFIXFLEET_DATABASE names another one: that of an MLflow which is reached through its
server, say. Knows no tenant and no policy.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import SQLAlchemyError

from components.config import Params
from components.errors import WorkspaceError
from components.registry.mlflow.connection import URI_VARIABLE, hide_password, resolve_uri
from components.rollout.store.tables import GUARDS, METADATA
from components.storage.atomic_files import alone
from components.storage.timeouts import Limits, answering, open_engine

VARIABLE = "PREFIXFLEET_DATABASE"
"""Environment variable with the URL of a database for the rollout's tables."""

_FILE = "sqlite:///var/prefixfleet.db"
_LOCK = 7_312_004  # any number that nobody else's advisory locks have
_FIX = f"see whether it runs, its disk has room and nobody holds its rows, or name another in {VARIABLE}"


class Database:
    """The rollout's tables; may be shared by threads."""

    def __init__(self, url: str, limits: Limits | None = None) -> None:
        """Open an engine; the tables are made where they are missing. Raises WorkspaceError."""
        self.url, self._limits = url, limits or Limits()
        self.engine = open_engine(_parsed(url), self._limits)
        with self.writing("the rollout's tables") as connection:
            if METADATA.tables.keys() - set(sql.inspect(connection).get_table_names()):
                _make_tables(connection)

    @contextmanager
    def reading(self, wanted: str) -> Iterator[Connection]:
        """A connection to read by. Raises WorkspaceError."""
        with self._told(wanted), self.engine.connect() as connection, answering(connection, self._limits):
            yield connection

    @contextmanager
    def writing(self, wanted: str) -> Iterator[Connection]:
        """One transaction: all of the block is kept, or nothing. Raises WorkspaceError."""
        with self.reading(wanted) as connection, connection.begin():
            yield connection

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Let nobody else take the turn of this name meanwhile, in any process that shares the database.

        It ends with its holder, however that dies. In SQLite all names are one.

        Raises:
            WorkspaceError: another holds it for longer than we wait; or the database does not answer.
        """
        wanted = f"the turn of {name}"
        if self.engine.dialect.name == "sqlite":
            place = Path(self.engine.url.database or "memory")
            with alone(Path(f"{place}.lock"), place, "try again", wait_s=self._limits.lock):
                yield
            return
        with self._told(wanted), self.engine.connect() as holder:
            with answering(holder, self._limits):
                taking = sql.func.pg_advisory_xact_lock(_LOCK, sql.func.hashtext(name))
                holder.execute(sql.select(taking))
            yield
            with answering(holder, self._limits):
                holder.rollback()

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def _told(self, wanted: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as problem:
            first = str(problem).strip().splitlines()[0]
            got = f"{hide_password(first[:400])} (database {hide_password(self.url)})"
            raise WorkspaceError(wanted, got, _FIX) from problem


def open_database(params: Params, root: Path) -> Database:
    """The rollout's database of a workspace.

    Raises:
        WorkspaceError: it cannot be reached or written.
    """
    return Database(database_url(params, root))


def database_url(params: Params, root: Path) -> str:
    """Its URL: PREFIXFLEET_DATABASE, else MLflow's when that is PostgreSQL, else a file of the workspace."""
    mlflow = os.environ.get(URI_VARIABLE) or params.registry.tracking_uri
    found = os.environ.get(VARIABLE) or (mlflow if mlflow.startswith("postgresql") else _FILE)
    return resolve_uri(found, root)


def insert_into(connection: Connection, table: sql.Table) -> "postgresql.Insert | sqlite.Insert":
    """An insert that can say what happens on a conflict, in the database's own dialect."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _make_tables(connection: Connection) -> None:
    """Make what is missing, one process at a time."""
    alone = {"postgresql": f"SELECT pg_advisory_xact_lock({_LOCK})", "sqlite": "BEGIN IMMEDIATE"}
    connection.exec_driver_sql(alone[connection.dialect.name])
    METADATA.create_all(connection)
    for statement in GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        parsed = None
    if parsed is None or parsed.get_backend_name() not in GUARDS:
        raise WorkspaceError("a database for the rollout", hide_password(url), "name one of PostgreSQL or SQLite")
    return parsed
