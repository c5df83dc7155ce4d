"""Each rollback leaves the outbox once, in order; a failed sender leaves them all in it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from components.rollout.store.event_outbox import add_event, take_events
from components.rollout.types import LedgerEntry


def add(database, number):
    with database.transaction("a rollback") as connection:
        add_event(connection, LedgerEntry(tenant="acme", by="rollout", action="rollback", from_version=str(number)))


def test_each_rollback_is_taken_once_in_order_and_a_failure_leaves_them(database):
    for number in range(12):
        add(database, number)
    with pytest.raises(ZeroDivisionError), take_events(database):
        1 / 0  # noqa: B018

    def take(_):
        with take_events(database) as rollbacks:
            return [one.from_version for one in rollbacks]

    with ThreadPoolExecutor(4) as threads:
        taken = [rollbacks for rollbacks in threads.map(take, range(4)) if rollbacks]
    assert taken == [[str(number) for number in range(12)]]
    assert take(0) == []
