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
from components.rollout.store.tables import LEDGER_TRIGGERS, METADATA
from components.storage.atomic_files import hold_file_lock
from components.storage.timeouts import DatabaseTimeouts, enforce_answer_timeout, open_engine
from components.storage.urls import format_first_line, hide_password, read_tracking_uri, resolve_uri

DATABASE_VARIABLE = "PREFIXFLEET_DATABASE"
"""Environment variable with the URL of a database for the rollout's tables."""

_DEFAULT_URL = "sqlite:///var/prefixfleet.db"
_ADVISORY_LOCK_ID = 7_312_004  # any number that nobody else's advisory locks have
_FIX = f"see whether it runs, its disk has room and nobody holds its rows, or name another in {DATABASE_VARIABLE}"


class Database:
    """The rollout's tables; may be shared by threads."""

    def __init__(self, url: str, limits: DatabaseTimeouts | None = None) -> None:
        """Open an engine; the tables are made where they are missing. Raises WorkspaceError."""
        self.url, self._limits = url, limits or DatabaseTimeouts()
        self.engine = open_engine(_parse_url(url), self._limits)
        with self.transaction("the rollout's tables") as connection:
            if METADATA.tables.keys() - set(sql.inspect(connection).get_table_names()):
                _make_tables(connection)

    @contextmanager
    def connect(self, wanted: str) -> Iterator[Connection]:
        """A connection to read by. Raises WorkspaceError."""
        with (
            self._convert_errors(wanted),
            self.engine.connect() as connection,
            enforce_answer_timeout(connection, self._limits),
        ):
            yield connection

    @contextmanager
    def transaction(self, wanted: str) -> Iterator[Connection]:
        """One transaction: all of the block is kept, or nothing. Raises WorkspaceError."""
        with self.connect(wanted) as connection, connection.begin():
            yield connection

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Let nobody else take the turn of this name meanwhile, in any process that shares the database.

        It ends with its holder, however that dies. In SQLite all names are one.

        Raises:
            WorkspaceError: another holds it for longer than we wait; or the database does not answer.
        """
        wanted = f"the turn of {name}"
        if self.engine.dialect.name == "sqlite":
            place = Path(self.engine.url.database or "memory")
            with hold_file_lock(Path(f"{place}.lock"), place, "try again", wait_s=self._limits.lock):
                yield
            return
        with self._convert_errors(wanted), self.engine.connect() as holder:
            with enforce_answer_timeout(holder, self._limits):
                taking = sql.func.pg_advisory_xact_lock(_ADVISORY_LOCK_ID, sql.func.hashtext(name))
                holder.execute(sql.select(taking))
            yield
            with enforce_answer_timeout(holder, self._limits):
                holder.rollback()

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @contextmanager
    def _convert_errors(self, wanted: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as problem:
            got = f"{format_first_line(problem)} (database {hide_password(self.url)})"
            raise WorkspaceError(wanted, got, _FIX) from problem


def open_database(params: Params, root: Path) -> Database:
    """The rollout's database of a workspace.

    Raises:
        WorkspaceError: it cannot be reached or written.
    """
    return Database(find_database_url(params, root))


def find_database_url(params: Params, root: Path) -> str:
    """Its URL: PREFIXFLEET_DATABASE, else MLflow's when that is PostgreSQL, else a file of the workspace."""
    mlflow = read_tracking_uri(params.registry.tracking_uri)
    found = os.environ.get(DATABASE_VARIABLE) or (mlflow if mlflow.startswith("postgresql") else _DEFAULT_URL)
    return resolve_uri(found, root)


def make_insert(connection: Connection, table: sql.Table) -> "postgresql.Insert | sqlite.Insert":
    """An insert that can say what happens on a conflict, in the database's own dialect."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _make_tables(connection: Connection) -> None:
    """Make what is missing, one process at a time."""
    alone = {"postgresql": f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK_ID})", "sqlite": "BEGIN IMMEDIATE"}
    connection.exec_driver_sql(alone[connection.dialect.name])
    METADATA.create_all(connection)
    for statement in LEDGER_TRIGGERS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        parsed = None
    if parsed is None or parsed.get_backend_name() not in LEDGER_TRIGGERS:
        raise WorkspaceError("a database for the rollout", hide_password(url), "name one of PostgreSQL or SQLite")
    return parsed
