"""The rollout's database, on SQLite in a folder of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.rollout.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/var/prefixfleet.db")
    yield opened
    opened.close()
