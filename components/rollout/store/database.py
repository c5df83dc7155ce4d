"""Where the rollout's tables are: in MLflow's database if that is PostgreSQL, else in SQLite at var/prefixfleet.db.

The environment variable PREFIXFLEET_DATABASE names another database: for example that of an MLflow server. Knows no
tenant and no policy.
"""

import os
from pathlib import Path

from components.config import RegistryConfig
from components.rollout.store.migrations import SCHEMA
from components.storage.database import Database
from components.storage.timeouts import DatabaseTimeouts
from components.storage.urls import read_tracking_uri, resolve_uri

DATABASE_VARIABLE = "PREFIXFLEET_DATABASE"
"""Environment variable with the URL of the database that has the rollout's tables."""

_DEFAULT_URL = "sqlite:///var/prefixfleet.db"
_FIX = (
    "check that it runs, that its disk has free space and that no other session blocks its tables, "
    f"or set {DATABASE_VARIABLE} to another database"
)


def open_database(config: RegistryConfig, root: Path) -> Database:
    """Open the rollout's database of a workspace. Raises WorkspaceError as `open_database_url` does."""
    return open_database_url(find_database_url(config, root))


def open_database_url(url: str, timeouts: DatabaseTimeouts | None = None) -> Database:
    """Open a database, and bring the rollout's tables to their newest revision.

    Raises:
        WorkspaceError: it cannot be reached or written, or its tables are of a newer release.
    """
    return Database(url, SCHEMA, timeouts, fix=_FIX)


def find_database_url(config: RegistryConfig, root: Path) -> str:
    """Return PREFIXFLEET_DATABASE, else MLflow's URL if that is PostgreSQL, else a SQLite file in the workspace."""
    mlflow = read_tracking_uri(config.tracking_uri)
    url = os.environ.get(DATABASE_VARIABLE) or (mlflow if mlflow.startswith("postgresql") else _DEFAULT_URL)
    return resolve_uri(url, root)
