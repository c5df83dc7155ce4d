"""The rollout's database, empty: once SQLite, once PostgreSQL."""

from collections.abc import Iterator

import pytest

from components.rollout.store.database import open_database_url
from components.storage.database import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database_url(database_url)
    yield opened
    opened.close()
