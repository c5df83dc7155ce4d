"""The command `plan`: what would be trained and why, what it takes, and what is not trained."""

import json

from components.rollout.store.usage import Usage, UsageKey, add_served
from components.stages.sharding.cost import RATES_FILE, TrainingRates
from components.stages.workspace import Workspace
from components.usage.periods import get_today, to_day

PRICES = {"currency": "EUR", "training_device_hour": 36, "thousand_requests": 1000}


def test_the_plan_names_tenants_reasons_and_drops_that_wait(call, make_root, write_tenant):
    root = make_root(("alder", "birch"))
    write_tenant(root / "drops", "cedar")
    result = call(root, "plan")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines[1:3]] == [["alder", "no prefix yet"], ["birch", "no prefix yet"]]
    assert lines[3:] == ["2 to train, 0 up to date", "1 drop waits, which `retrain` takes first: cedar"]
    assert not (root / "out" / "train").exists()


def test_the_cost_is_in_tokens_device_seconds_and_money(call, make_root):
    root = make_root(("alder", "birch"), prices=PRICES, tenants={"birch": {"budget": {"month": 1, "action": "refuse"}}})
    add_served(Workspace(root).database, "one", 1, {UsageKey("birch", to_day(get_today())): Usage(requests=3)})
    unknown = call(root, "plan", "--cost").stdout
    assert "device seconds are unknown" in unknown
    TrainingRates(root / "var" / RATES_FILE).record("cpu", 1e6, 1.0)
    document = json.loads(call(root, "plan", "--cost", "--json").stdout)
    (alder,) = document["train"]
    assert alder["tokens"] > 0
    assert float(alder["cost"]) > 0
    assert document["total"]["cost"] == alder["cost"]
    assert "spent 3.0000 EUR of its budget" in document["not_trained"]["birch"]
    table = call(root, "plan", "--cost").stdout
    assert f"{alder['cost']} EUR" in table
    assert "not trained: spent 3.0000 EUR" in table
    assert "cost" not in call(root, "plan").stdout
