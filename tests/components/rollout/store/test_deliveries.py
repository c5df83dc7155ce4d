"""Deliveries are claimed by one process at a time, tried again, delivered or given up, and counted by target."""

from contextlib import closing

import pytest

from components.rollout.store.database import open_database_url
from components.rollout.store.deliveries import (
    NewDelivery,
    TargetCounts,
    add_deliveries,
    claim_due,
    count_deliveries,
    delay,
    give_up_before,
    has_due,
    mark_delivered,
)
from components.rollout.store.removal import list_remaining_rows, remove_rows

NOW_S = 1_800_000_000.0


@pytest.fixture
def database(database_url):
    with closing(open_database_url(database_url)) as opened:
        yield opened


@pytest.fixture
def add(database):
    def add_one(event, target="ops", tenant="acme", payload="{}", now_s=NOW_S):
        new = NewDelivery(target=target, event=event, type="version.promoted", tenant=tenant, payload=payload)
        with database.transaction("a delivery") as connection:
            add_deliveries(connection, [new], now_s)

    return add_one


def list_claimed(database, now_s=NOW_S, target="ops", limit=9):
    return [one.event for one in claim_due(database, target, limit, now_s)]


def test_what_one_process_has_claimed_no_other_gets_until_it_must_be_dead(database, add):
    for event in ("a", "b", "c"):
        add(event)
    add("d", target="crm")
    assert list_claimed(database, limit=2) == ["a", "b"]
    assert list_claimed(database) == ["c"]
    assert list_claimed(database, NOW_S + 119) == []
    assert not has_due(database, ["ops"], NOW_S)
    assert has_due(database, ["ops", "crm"], NOW_S)
    assert list_claimed(database, NOW_S + 121) == ["a", "b", "c"]


def test_it_is_known_what_waits_what_was_delivered_and_what_was_given_up_and_why(database, add):
    for event in ("a", "b", "c"):
        add(event)
    first, second, third = claim_due(database, "ops", 3, NOW_S)
    mark_delivered(database, [first])
    delay(database, [second], NOW_S + 5, "status 500")
    delay(database, [third], NOW_S + 50, "status 503" + "x" * 900)
    again = claim_due(database, "ops", 3, NOW_S + 6)
    assert [(one.event, one.tries, one.problem) for one in again] == [("b", 2, "status 500")]
    mark_delivered(database, again)
    assert count_deliveries(database)["ops"] == TargetCounts(1, 2, 0, ("status 503" + "x" * 900)[:300])
    assert give_up_before(database, NOW_S, NOW_S) == []
    (given_up,) = give_up_before(database, NOW_S + 1, NOW_S + 60)
    assert (given_up.event, given_up.payload) == ("c", "")
    assert count_deliveries(database)["ops"].given_up == 1
    give_up_before(database, NOW_S, NOW_S + 31 * 86_400)
    assert count_deliveries(database) == {}


def test_a_tenants_deliveries_are_removed_with_it_also_those_that_name_it_among_others(database, add):
    add("a")
    add("b", tenant="", payload='{"needs_person": [{"tenant": "acme"}]}')
    add("c", tenant="", payload='{"needs_person": [{"tenant": "acme-2"}]}')
    add("d", tenant="birch")
    remove_rows(database, "acme")
    assert list_remaining_rows(database, "acme") == []
    assert list_claimed(database) == ["c", "d"]
