"""Tenants whose budget is spent are left out of a plan, with those that build on their prefix; the plan says why."""

import pytest

from components.rollout.store.usage import Usage, UsageKey, add_served
from components.stages.plan import plan
from components.stages.plan_budgets import leave_out_refused, warn_of_spent_budgets
from components.stages.reports.status import read_status
from components.stages.workspace import Workspace
from components.usage.periods import get_today, to_day

PRICES = {"currency": "EUR", "thousand_requests": 1000}


def make_plan(root, requests=5):
    workspace = Workspace(root)
    add_served(workspace.database, "one", 1, {UsageKey("alder", to_day(get_today())): Usage(requests=requests)})
    return leave_out_refused(workspace, plan(workspace))


@pytest.mark.parametrize("action", ["refuse", "throttle"])
def test_a_tenant_whose_budget_is_spent_is_not_trained_and_the_plan_says_why(make_root, action):
    root = make_root(("alder", "birch"), prices=PRICES, budget={"month": 5, "action": action})
    planned = make_plan(root)
    assert [item.tenant for item in planned.items] == ["birch"]
    assert planned.refused.keys() == {"alder"}
    assert "spent 5.0000 EUR of its budget of 5.00 EUR" in planned.refused["alder"]
    assert "1 to train, 0 up to date: birch (no prefix yet); 1 not trained: alder (spent 5.0000" in planned.sentence
    (alder, birch) = sorted(read_status(Workspace(root)).tenants, key=lambda row: row.tenant)
    assert alder.reason == "no prefix yet: the next `prefixfleet retrain` does not train it, as its budget is spent"
    assert any("5.00 EUR for" in note and ": it is not trained" in note for note in alder.notes)
    assert birch.notes == []


def test_an_alert_is_said_and_refuses_nothing(make_root, caplog):
    root = make_root(("alder",), prices=PRICES, budget={"month": 5})
    planned = make_plan(root)
    assert [item.tenant for item in planned.items] == ["alder"]
    (alder,) = read_status(Workspace(root)).tenants
    assert any("of its budget of 5.00 EUR" in note for note in alder.notes)
    warn_of_spent_budgets(Workspace(root), planned)
    assert "alder: spent 5.0000 EUR" in caplog.text
    assert "retrain` trains" in alder.reason


def test_a_tenant_that_builds_on_one_that_is_not_trained_is_not_trained_either(make_root):
    tenants = {"alder": {"budget": {"month": 1, "action": "refuse"}}, "birch": {"train": {"shared": "alder"}}}
    root = make_root(("alder", "birch", "cedar"), prices=PRICES, tenants=tenants)
    planned = make_plan(root)
    assert [item.tenant for item in planned.items] == ["cedar"]
    assert "builds on the prefix of alder" in planned.refused["birch"]
    assert planned.refuse({"cedar": "why"}).sentence.startswith("nothing to train: the prefixes of the other 0 tenants")
