"""Spans in a real collector: parents, failures, sampling, log fields; without the switch nothing is imported."""

import json
import logging
import subprocess
import sys
from contextvars import copy_context
from threading import Thread

import pytest

from components.errors import DataError
from components.logs import JsonFormatter
from components.otel.span import NO_SPAN
from components.otel.spans import (
    add_wait,
    begin_telemetry,
    current_span,
    open_root,
    open_span,
    read_parent,
    start_root,
    start_span,
    traced,
)

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_parents_attributes_events_and_failures_arrive(otlp):
    @traced("plan")
    def plan() -> int:
        current_span().set(to_train=2)
        return 3

    begin_telemetry("prefixfleet-test")
    with open_root("retrain", run=7) as root:
        assert plan() == 3
        shard = start_span("shard", tenants=2)
        shard.add_event("validation", step=4, validation_loss=0.5)
        shard.end()
        shard.end()
        with pytest.raises(DataError), open_span("gate tenant", tenant="alder"):
            raise DataError("a line", "the text of a caller", "correct it")
        copied = copy_context()
        thread = Thread(target=lambda: copied.run(lambda: start_span("register tenant").end()))
        thread.start()
        thread.join()
        add_wait("load artifact", 0)
        root.count_failed(["alder"])
    assert current_span() is NO_SPAN
    begun = otlp.wait_for("retrain", run=7, failed=1)
    assert otlp.list_children(begun) == ["load artifact", "plan", "shard", "gate tenant", "register tenant"]
    assert begun.is_failed
    assert begun.parent_id == ""
    assert begun.service == "prefixfleet-test"
    assert otlp.wait_for("shard").events == (
        ("validation", {"prefixfleet.step": 4, "prefixfleet.validation_loss": 0.5}),
    )
    failed = otlp.wait_for("gate tenant")
    assert (failed.is_failed, failed.attributes) == (True, {"prefixfleet.tenant": "alder", "error.type": "DataError"})
    assert not any(b"the text of a caller" in body for body in otlp.bodies)
    with pytest.raises(KeyError):
        start_span("retrain", text="x")


def test_a_trace_goes_on_from_headers_and_from_the_environment(otlp, monkeypatch):
    header = f"00-{TRACE}-{PARENT}-01"
    with open_span("shard", parent=read_parent({"traceparent": header, "tracestate": "a=1"})) as shard:
        sent = shard.headers
    assert sent["tracestate"] == "a=1"
    assert sent["traceparent"].startswith(f"00-{TRACE}-")
    monkeypatch.setenv("TRACEPARENT", header)
    with open_root("retrain"), open_root("promote"):
        pass
    start_root("rollout").end()
    assert read_parent({"traceparent": "what a caller sent"}) is NO_SPAN
    with open_span("new", parent=read_parent({})):
        pass
    shard, retrain, cycle = (otlp.wait_for(name) for name in ("shard", "retrain", "rollout"))
    assert {(one.trace_id, one.parent_id) for one in (shard, retrain, cycle)} == {(TRACE, PARENT)}
    assert otlp.list_children(retrain) == ["promote"]
    assert otlp.wait_for("new").trace_id != TRACE


def test_sampling_is_that_of_the_standard_variables(otlp, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    with open_root("dropped") as root, open_span("below"):
        assert not root.is_recording
        assert not int(root.headers["traceparent"][-2:], 16) & 1
        add_wait("load artifact", 0)
    with open_span("kept", parent=read_parent({"traceparent": f"00-{TRACE}-{PARENT}-01"})):
        pass
    otlp.wait_for("kept")
    assert [one.name for one in otlp.spans] == ["kept"]


@pytest.mark.usefixtures("otlp")
def test_lines_of_the_log_name_trace_and_span():
    record = logging.LogRecord("prefixfleet", logging.INFO, "", 0, "a line", None, None)
    with open_root("retrain") as root, open_span("plan") as plan:
        line = json.loads(JsonFormatter().format(record))
    assert {"trace_id": line["trace_id"], "span_id": line["span_id"]} == plan.log_fields
    assert line["trace_id"] == root.log_fields["trace_id"]
    assert "trace_id" not in json.loads(JsonFormatter().format(record))


def test_without_the_switch_nothing_of_opentelemetry_is_imported_by_serving_or_by_a_span():
    code = """
import sys
import components.serving.http.server
from components.otel.spans import begin_telemetry, current_span, open_root, read_parent, start_span
begin_telemetry("prefixfleet-server")
with open_root("retrain", run=1) as span:
    start_span("shard", parent=read_parent({"traceparent": "x"})).end()
    current_span().set(tenant="alder")
assert not span.headers and not span.log_fields and not span.is_recording
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
print([name for name in sys.modules if name.startswith("components.otel.")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, own = done.stdout.splitlines()
    assert imported == "[]"
    assert "exporting" not in own
    assert "collector" not in own
