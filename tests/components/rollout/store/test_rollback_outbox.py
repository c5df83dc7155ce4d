"""Rollbacks wait to be told on a real SQLite and a real PostgreSQL: each is taken once, whoever comes for it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from components.rollout.store.database import open_database_url
from components.rollout.store.removal import list_remaining_rows, remove_rows
from components.rollout.store.rollback_outbox import add_rollback, take_rollbacks
from components.rollout.types import LedgerEntry


@pytest.fixture
def opened(database_url):
    database = open_database_url(database_url)
    yield database
    database.close()


def roll_back(database, number):
    with database.transaction("a rollback") as connection:
        add_rollback(connection, LedgerEntry(tenant="acme", by="rollout", action="rollback", from_version=str(number)))


def test_each_is_taken_once_in_order_and_a_failure_leaves_them(opened):
    for number in range(12):
        roll_back(opened, number)
    with pytest.raises(ZeroDivisionError), take_rollbacks(opened):
        1 / 0  # noqa: B018

    def take(_):
        with take_rollbacks(opened) as found:
            return [one.from_version for one in found]

    with ThreadPoolExecutor(4) as threads:
        taken = [found for found in threads.map(take, range(4)) if found]
    assert taken == [[str(number) for number in range(12)]]
    roll_back(opened, 12)
    remove_rows(opened, "acme")
    assert (take(0), list_remaining_rows(opened, "acme")) == ([], [])
