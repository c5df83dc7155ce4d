"""Estimates of a tenant's work, and rates that earlier trainings measured."""

import pytest

from components.stages.plan import plan
from components.stages.sharding.cost import TrainingRates, estimate_operations
from components.stages.workspace import Workspace


def estimate(root, tenant="alder", parameters=1000, reason=None):
    workspace = Workspace(root)
    items = {item.tenant: item for item in plan(workspace).items}
    from dataclasses import replace

    item = items[tenant] if reason is None else replace(items[tenant], reason=reason)
    return estimate_operations(workspace, item, parameters)


def test_the_estimate_grows_with_steps_base_and_method_and_a_tenant_that_is_only_evaluated_costs_less(
    make_root, set_params
):
    root = make_root(("alder", "birch"), tenants={"birch": {"train": {"max_steps": 40}}})
    small = estimate(root)
    assert estimate(root, parameters=3000) == pytest.approx(3 * small)
    assert estimate(root, "birch") > 2 * small
    assert 0 < estimate(root, reason="") < small
    set_params(root, train={"method": "full"})
    assert estimate(root) > small
    set_params(root, evaluate={"num_beams": 4})
    assert estimate(root) > small


def test_a_rate_is_known_only_after_a_measurement_and_survives_in_its_file(tmp_path):
    path = tmp_path / "var" / "rates.json"
    rates = TrainingRates(path)
    assert rates.estimate_seconds(100.0) is None
    rates.record("cpu", 1000.0, 10.0)
    assert rates.estimate_seconds(200.0) == pytest.approx(2.0)
    rates.record("cpu", 3000.0, 10.0)  # half of the newest measurement
    assert TrainingRates(path).estimate_seconds(200.0) == pytest.approx(1.0)
    rates.record("NVIDIA H200", 6000.0, 10.0)
    assert TrainingRates(path).estimate_seconds(800.0) == pytest.approx(2.0)


@pytest.mark.parametrize("content", ["", "[]", '{"operations_per_second": {"cpu": "fast", "gpu": -1}}'])
def test_a_broken_file_counts_as_none(tmp_path, content):
    path = tmp_path / "rates.json"
    path.write_text(content)
    rates = TrainingRates(path)
    assert rates.estimate_seconds(1.0) is None
    rates.record("cpu", 0.0, 3.0)
    rates.record("cpu", 5.0, 0.0)
    assert rates.estimate_seconds(1.0) is None
