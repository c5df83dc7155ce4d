"""The rollout's database: on SQLite in a folder of the test's own, and on a PostgreSQL server that they share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.rollout.store.database import open_database_url
from components.storage.database import Database

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database_url(f"sqlite:///{tmp_path}/var/prefixfleet.db")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    from sides.postgresql import is_installed, run_postgresql

    if not is_installed():
        pytest.skip("no PostgreSQL on this machine (initdb, pg_ctl)")
    with run_postgresql() as url:
        yield url
