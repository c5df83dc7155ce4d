"""The rollout's database, empty: once SQLite, once PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql

from components.rollout.store.database import open_database_url
from components.storage.database import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database_url(database_url)
    yield opened
    opened.close()


@pytest.fixture
def narrow_database(tmp_path: Path) -> Iterator[Database]:
    """SQLite with a limit of 5,000 parameters a statement; other builds have limits from 999 to 250,000."""
    opened = open_database_url(f"sqlite:///{tmp_path}/narrow.db")
    opened.engine.dispose()
    limit = sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER
    sql.event.listen(opened.engine, "connect", lambda connection, _: connection.setlimit(limit, 5_000))
    yield opened
    opened.close()
