"""The spans and metrics of a real night in a real collector; no text of an example is in them."""

import json
import shutil

import pytest

from components.stages.workspace import Workspace
from flows.run_local import run_flow

MARKER = "zanzibar"


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_night_is_one_trace_from_the_flow_to_each_tenant_without_any_text(
    otlp, make_checkout, write_lines, write_tenant
):
    """birch fails in training; cedar's drop is refused with a message that quotes an example."""
    root = make_checkout((), tenants={"birch": {"train": {"learning_rate": 1e30}}})
    for tenant in ("alder", "birch", "cedar"):
        write_tenant(root / "drops", tenant)
        for path in (root / "drops" / tenant).glob("*.jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            write_lines(path, [{**line, "source": f"{line['source']} {MARKER}"} for line in lines])
    shutil.copy(root / "drops/cedar/train.jsonl", root / "drops/cedar/test.jsonl")
    result = run_flow("retrain", root, None)
    assert result.promoted == {"alder": "1"}
    assert any(MARKER in one.detail for one in result.failures)

    night = otlp.wait_for("retrain")
    assert (night.parent_id, night.is_failed, night.service) == ("", True, "prefixfleet")
    assert night.attributes == {
        "prefixfleet.run": 1,
        "prefixfleet.dataset_version": Workspace(root).dataset_version,
        "prefixfleet.to_train": 2,
        "prefixfleet.unchanged": 0,
        "prefixfleet.failed": 2,
    }
    steps = ["dataset version", "plan", "shard", "gate", "register", "record rejections", "roll out"]
    assert otlp.list_children(night) == steps
    assert {one.trace_id for one in otlp.spans} == {night.trace_id}
    shard = otlp.wait_for("shard", tenants=2)
    assert otlp.list_children(shard) == ["train", "evaluate"]
    assert otlp.list_children(otlp.wait_for("train")) == ["train tenant", "train tenant"]
    trained, failed = otlp.wait_for("train tenant", tenant="alder"), otlp.wait_for("train tenant", tenant="birch")
    assert (trained.attributes["prefixfleet.outcome"], trained.is_failed) == ("done", False)
    assert (failed.attributes["prefixfleet.outcome"], failed.is_failed) == ("failed", True)
    for stage, more in (
        ("evaluate", {"outcome": "done"}),
        ("gate", {"outcome": "done", "accepted": True}),
        ("register", {"version": "1"}),
        ("roll out", {"version": "1"}),
    ):
        own = otlp.wait_for(f"{stage} tenant", tenant="alder", **more)
        assert own.parent_id == otlp.wait_for(stage).span_id

    assert otlp.metrics["prefixfleet_runs", ()] == 1
    assert otlp.metrics["prefixfleet_ledger_entries", (("action", "promote"),)] == 1
    assert otlp.metrics["prefixfleet_flow_failed_tenants", (("flow", "retrain"),)] == 2
    assert not any(MARKER.encode() in body for body in otlp.bodies)
