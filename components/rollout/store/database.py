"""Where the rollout's tables are: in MLflow's database if that is PostgreSQL, else in SQLite at var/prefixfleet.db.

The environment variable PREFIXFLEET_DATABASE names another database: for example that of an MLflow server. Knows no
tenant and no policy.
"""

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from components.config import RegistryConfig
from components.rollout.store.migrations import SCHEMA
from components.storage.database import Database
from components.storage.migrations import Revision, is_usable, list_pending, read_revision
from components.storage.timeouts import DatabaseTimeouts
from components.storage.urls import read_tracking_uri, resolve_uri

DATABASE_VARIABLE = "PREFIXFLEET_DATABASE"
"""Environment variable with the URL of the database that has the rollout's tables."""

_DEFAULT_URL = "sqlite:///var/prefixfleet.db"
_PATIENT = DatabaseTimeouts(statement=3600, answer=4000.0)
"""For changes of large tables."""
_FIX = (
    "check that it runs, that its disk has free space and that no other session blocks its tables, "
    f"or set {DATABASE_VARIABLE} to another database"
)


def open_database(config: RegistryConfig, root: Path) -> Database:
    """Open the rollout's database of a workspace. Raises WorkspaceError as `open_database_url` does."""
    return open_database_url(find_database_url(config, root))


def open_database_url(url: str, timeouts: DatabaseTimeouts | None = None) -> Database:
    """Open a database, and apply the revisions of the rollout's tables that only add to them.

    Raises:
        WorkspaceError: it cannot be reached or written, or its tables are of a newer release that has removed what this
            one uses.
    """
    return Database(url, SCHEMA, timeouts, fix=_FIX)


@dataclass(frozen=True, slots=True)
class TablesReport:
    """The rollout's tables in a database, compared with this release."""

    revision: str | None
    """None: there are none."""
    pending: list[Revision]
    newest: str = SCHEMA.head
    """Of this release."""


def inspect_tables(url: str) -> TablesReport:
    """Compare the rollout's tables with this release, and change nothing.

    Raises:
        WorkspaceError: the database cannot be reached, or its tables are of a newer release that has removed what this
            one uses.
    """
    with closing(Database(url, SCHEMA, fix=_FIX, is_prepared=False)) as database:
        with database.connect("the revision of the tables") as connection:
            is_usable(connection, SCHEMA)
        with database.connect("the revision of the tables") as connection:
            return TablesReport(read_revision(connection, SCHEMA), list_pending(connection, SCHEMA))


def upgrade_tables(url: str, *, contract: bool) -> list[str]:
    """Apply the pending revisions, with much time for each; return their ids.

    With `contract` also those that remove what older releases use.

    Raises:
        WorkspaceError: as in `inspect_tables`, or the database cannot be written.
    """
    with closing(Database(url, SCHEMA, _PATIENT, fix=_FIX, is_prepared=False)) as database:
        return database.upgrade(contract=contract)


def find_database_url(config: RegistryConfig, root: Path) -> str:
    """Return PREFIXFLEET_DATABASE, else MLflow's URL if that is PostgreSQL, else a SQLite file in the workspace."""
    mlflow = read_tracking_uri(config.tracking_uri)
    url = os.environ.get(DATABASE_VARIABLE) or (mlflow if mlflow.startswith("postgresql") else _DEFAULT_URL)
    return resolve_uri(url, root)
