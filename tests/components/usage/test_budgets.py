"""What was spent of a month's budget, and what its action refuses then."""

from datetime import date

import pytest

from components.rollout.store.usage import Usage, UsageKey, add_served
from components.usage.budgets import read_budget_states
from components.usage.periods import to_day

TODAY = date(2026, 11, 30)


def read(database, params, *tenants, today=TODAY):
    return read_budget_states(database, tenants, params.for_tenant, today)


def test_only_this_month_counts_and_only_for_tenants_with_a_budget(database, make_params):
    last_month, today = to_day(date(2026, 10, 31)), to_day(TODAY)
    add_served(
        database,
        "one",
        1,
        {UsageKey("acme", last_month): Usage(requests=50), UsageKey("acme", today): Usage(requests=9)},
    )
    params = make_params(tenants={"acme": {"budget": {"month": 10, "action": "refuse"}}})
    states = read(database, params, "acme", "birch")
    assert states.keys() == {"acme"}
    assert not states["acme"].is_spent
    assert states["acme"].sentence == "spent 9.0000 EUR of its budget of 10.00 EUR for 2026-11"
    add_served(database, "one", 2, {UsageKey("acme", today): Usage(requests=1)})
    assert read(database, params, "acme")["acme"].refuses_training
    assert not read(database, params, "acme", today=date(2026, 12, 1))["acme"].is_spent


@pytest.mark.parametrize(
    ("action", "training", "requests"),
    [("alert", False, False), ("refuse", True, False), ("throttle", True, True)],
)
def test_the_action_says_what_is_refused(database, make_params, action, training, requests):
    state = read(database, make_params(budget={"month": 0, "action": action}), "acme")["acme"]
    assert state.is_spent
    assert (state.refuses_training, state.refuses_requests) == (training, requests)


def test_without_a_budget_the_database_is_not_asked(make_params):
    assert read(None, make_params(), "acme") == {}
