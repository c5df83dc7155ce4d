"""The spans and metrics of a real night, and of its repetition, in a real collector; no text of an example is in them."""

import json
import shutil

import pytest

from flows.retraining import retrain_local
from flows.run_local import run_flow

MARKER = "zanzibar"


def read_texts(root):
    """All words of the tenants' examples that no name of ours has."""
    lines = [json.loads(line) for path in (root / "data").rglob("*.jsonl") for line in path.read_text().splitlines()]
    return {text for line in lines for text in (line["source"], *line["references"])}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_night_is_one_trace_from_the_flow_to_each_tenant_without_any_text(
    otlp, make_checkout, write_lines, write_tenant
):
    root = make_checkout((), tenants={"birch": {"train": {"learning_rate": 1e30}}})
    for tenant in ("alder", "birch", "cedar"):
        write_tenant(root / "drops", tenant)
        for path in (root / "drops" / tenant).glob("*.jsonl"):
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            write_lines(path, [{**line, "source": f"{line['source']} {MARKER}"} for line in lines])
    shutil.copy(root / "drops/cedar/train.jsonl", root / "drops/cedar/test.jsonl")
    result = run_flow("retrain", root, None)
    assert result.promoted == {"alder": "1"}
    night = otlp.wait_for("retrain")
    import sys

    def show(span, depth=0):
        print(
            "  " * depth,
            span.name,
            span.kind,
            dict(span.attributes),
            [e[0] for e in span.events],
            span.is_failed,
            (span.ended_ns - span.began_ns) // 1000000,
            file=sys.stderr,
        )
        for one in sorted((one for one in otlp.spans if one.parent_id == span.span_id), key=lambda one: one.began_ns):
            show(one, depth + 1)

    show(night)
    print(len(otlp.spans), otlp.metrics, file=sys.stderr)
    assert 0
