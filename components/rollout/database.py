"""Where the rollout's tables lie: MLflow's database when that is PostgreSQL, else SQLite at var/prefixfleet.db.

Opens one engine, makes the tables where they are missing, and turns a database's complaints into ours. The environment
variable PREFIXFLEET_DATABASE names another one: that of an MLflow which is reached through its server, say. Knows no
tenant and no policy.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from components.config import Params
from components.data.files import disk_errors
from components.errors import WorkspaceError
from components.registry.connection import URI_VARIABLE, hide_password, resolve_uri
from components.rollout.tables import GUARDS, LEDGER, METADATA

VARIABLE = "PREFIXFLEET_DATABASE"
"""Environment variable with the URL of a database for the rollout's tables."""

_FILE = "sqlite:///var/prefixfleet.db"
_BUSY_SECONDS = 10
_LOCK = 7_312_004  # any number that nobody else's advisory lock has
_FIX = f"see whether it runs and its disk has room, or name another in {VARIABLE}"
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


class Database:
    """The rollout's tables; may be shared by threads."""

    def __init__(self, url: str) -> None:
        """Open an engine; the tables are made where they are missing. Raises WorkspaceError."""
        self.url = url
        self.engine = _engine(url)
        with self.writing("the rollout's tables") as connection:
            if not sql.inspect(connection).has_table(LEDGER.name):
                _make_tables(connection)

    @contextmanager
    def reading(self, wanted: str) -> Iterator[Connection]:
        """A connection to read by. Raises WorkspaceError."""
        with self._told(wanted), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, wanted: str) -> Iterator[Connection]:
        """One transaction: all of the block is kept, or nothing. Raises WorkspaceError."""
        with self._told(wanted), self.engine.begin() as connection:
            yield connection

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
    """Make what is missing; the ledger last, so that where it is, everything is."""
    alone = {"postgresql": f"SELECT pg_advisory_xact_lock({_LOCK})", "sqlite": "BEGIN IMMEDIATE"}
    connection.exec_driver_sql(alone[connection.dialect.name])
    METADATA.create_all(connection, tables=[table for table in METADATA.sorted_tables if table is not LEDGER])
    METADATA.create_all(connection, tables=[LEDGER])
    for statement in GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        parsed = None
    if parsed is None or parsed.get_backend_name() not in GUARDS:
        raise WorkspaceError("a database for the rollout", hide_password(url), "name one of PostgreSQL or SQLite")
    if parsed.get_backend_name() != "sqlite":
        return sql.create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": _BUSY_SECONDS})
    if parsed.database:
        with disk_errors(f"make the folder of {parsed.database}"):
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sql.create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
    sql.event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
