"""Causes against SQLite and PostgreSQL: opened once, due after pauses that grow, closed for good."""

import pytest

from components.rollout.store.causes import (
    Cause,
    begin_causes,
    close_causes,
    has_cause,
    open_causes,
    read_newest_causes,
    read_open_causes,
)


def make_cause(tenant="alder", number=1, **values):
    return Cause(tenant=tenant, id=f"arrival-{number}", kind="arrival", why="new data arrived", **values)


def open_all(database, *causes):
    with database.transaction("to open causes") as connection:
        return open_causes(connection, causes)


def test_a_cause_is_opened_once_even_after_it_was_closed(database):
    first = make_cause(opened_at="2026-01-01T00:00:00+00:00")
    assert open_all(database, first, first) == [first]
    assert read_open_causes(database) == [first]
    close_causes(database, [first], ["trained"])
    assert open_all(database, make_cause()) == []
    assert read_open_causes(database) == []
    assert [(one.id, one.result, bool(one.closed_at)) for one in read_newest_causes(database, 5)] == [
        ("arrival-1", "trained", True)
    ]
    assert has_cause(database, "alder", "arrival-1")
    assert not has_cause(database, "birch", "arrival-1")


def test_open_causes_are_those_of_the_named_tenants(database):
    alder, birch = make_cause(), make_cause("birch")
    open_all(database, alder, birch)
    assert read_open_causes(database, ["birch"]) == [birch]
    assert read_open_causes(database, []) == []
    close_causes(database, [], [])
    assert len(read_open_causes(database)) == 2


def test_a_run_that_was_stopped_leaves_its_causes_open_and_counts_as_a_try(database):
    open_all(database, make_cause())
    begin_causes(database, read_open_causes(database), 1000.0)
    begin_causes(database, read_open_causes(database), 2000.0)
    assert [(one.tries, one.tried_s) for one in read_open_causes(database)] == [(2, 2000.0)]


@pytest.mark.parametrize(("tries", "pause_s"), [(0, 0), (1, 0), (2, 60), (3, 120), (5, 480), (8, 3600), (60, 3600)])
def test_after_runs_that_were_stopped_the_pauses_grow_up_to_an_hour(tries, pause_s):
    cause = make_cause(tries=tries, tried_s=1000.0)
    assert cause.is_due(1000.0 + pause_s)
    assert cause.is_due(1000.0 + pause_s - 0.1) == (pause_s == 0)
    assert cause.is_due(900.0), "a clock that was set back does not delay it"
    assert not make_cause(closed_at="2026-01-01T00:00:00+00:00").is_due(0.0)
