"""The rollout's database, on SQLite in the test's own folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.rollout.store.database import open_database_url
from components.storage.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database_url(f"sqlite:///{tmp_path}/var/prefixfleet.db")
    yield opened
    opened.close()
