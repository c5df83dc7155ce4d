"""A retraining skips tenants whose budget is spent, says why, records it, and trains them once the budget is larger."""

import pytest

from components.rollout.store.runs import read_run_tenants, read_runs
from components.rollout.store.usage import Usage, UsageKey, add_served, read_usage
from components.stages.workspace import Workspace
from components.usage.periods import get_today, to_day
from flows.run_local import run_flow

PRICES = {"currency": "EUR", "thousand_requests": 1000}
TODAY = to_day(get_today())


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_tenant_whose_budget_is_spent_is_skipped_with_the_reason_and_trained_later(make_checkout, set_params):
    budgets = {"alder": {"budget": {"month": 2, "action": "refuse"}}}
    root = make_checkout(("alder", "birch"), prices=PRICES, tenants=budgets)
    database = Workspace(root).database
    add_served(database, "one", 1, {UsageKey("alder", TODAY): Usage(requests=2)})
    run = run_flow("retrain", root, None)
    assert (run.list_done("train"), run.promoted, run.failures) == (["birch"], {"birch": "1"}, [])
    assert "spent 2.0000 EUR of its budget of 2.00 EUR" in run.refused["alder"]
    assert "1 not trained: alder (spent 2.0000 EUR" in run.plan
    assert run.sentence == "1 trained, 1 promoted, 1 over budget (alder) of 2 tenants"
    assert "Not trained: alder: spent 2.0000 EUR" in run.message
    (entry,) = read_runs(database, 9)
    assert (entry.counts, entry.unchanged) == ({"promoted": 1, "skipped": 1}, 0)
    (alder, _) = read_run_tenants(database, entry.id)
    assert alder.detail == run.refused["alder"]
    used = read_usage(database, TODAY, TODAY)
    assert used[UsageKey("birch", TODAY)].training_us > 0
    assert used[UsageKey("birch", TODAY)].stored_bytes > 0
    assert used[UsageKey("alder", TODAY)] == Usage(requests=2)

    set_params(root, prices=PRICES, tenants={"alder": {"budget": {"month": 200, "action": "refuse"}}})
    again = run_flow("retrain", root, None)
    assert (again.list_done("train"), again.refused) == (["alder"], {})
    assert read_usage(database, TODAY, TODAY)[UsageKey("alder", TODAY)].training_tokens > 0
