"""What a plan's trainings will take, by what earlier trainings of the workspace took."""

import json

import pytest

from components.stages import train
from components.stages.plan import plan
from components.stages.sharding.cost import RATES_FILE, TrainingRates
from components.stages.sharding.training_estimates import add_estimates, estimate_trainings, record_device_rate
from components.stages.workspace import Workspace

PRICES = {"currency": "EUR", "training_device_hour": 3600}


def estimate(root):
    workspace = Workspace(root)
    return estimate_trainings(workspace, plan(workspace))


def test_nothing_is_known_of_the_time_before_a_training_was_measured(make_root):
    root = make_root(("alder", "birch"), prices=PRICES)
    alder, birch = estimate(root)
    assert (alder.device_seconds, alder.cost) == (None, None)
    assert alder.tokens == birch.tokens > 0
    assert add_estimates([alder, birch]).to_json() == {"tokens": 2 * alder.tokens, "device_seconds": None}
    assert add_estimates([]).cost is None


def test_a_training_again_takes_what_it_took_and_twice_the_steps_take_twice_that(make_root, set_params):
    root = make_root(("alder",), prices=PRICES)
    workspace = Workspace(root)
    planned = plan(workspace)
    train.run(workspace)
    figures = json.loads((root / "out/train/alder/training.json").read_text())
    record_device_rate(workspace, planned, {"alder"})
    for factor in (1, 2):
        set_params(root, prices=PRICES, train={"max_steps": factor * 4, "learning_rate": 0.5})
        (alder,) = estimate(root)
        assert alder.tokens == factor * figures["tokens"]
        assert alder.device_seconds == pytest.approx(factor * figures["seconds"])
        assert float(alder.cost) == pytest.approx(alder.device_seconds, abs=1e-6)
        assert alder.currency == "EUR"


def test_tenants_that_failed_count_nothing_and_the_rate_of_shards_stands_in(make_root):
    root = make_root(("alder",))
    workspace = Workspace(root)
    record_device_rate(workspace, plan(workspace), set())
    TrainingRates(root / "var" / RATES_FILE).record("cpu", 1e9, 1.0)
    (alder,) = estimate(root)
    assert alder.device_seconds > 0
    assert alder.cost is None
