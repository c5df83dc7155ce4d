"""The spans of rows: waits, steps, ends of every kind; and that rows of requests without a trace have none."""

import asyncio

import pytest

from components.errors import BaseModelError
from components.otel.span import NO_SPAN
from components.otel.spans import open_span
from components.serving.engine.row_trace import EngineStep, RowTrace, begin_row_trace
from components.serving.interface import GenerationRequest

S = 1_000_000_000


def test_only_the_longest_steps_are_shown_in_their_order(otlp):
    with open_span("request") as span:
        trace = begin_row_trace(span, 3)
        trace.queued_ns, trace.admitted_ns = 10 * S, 12 * S
        for number in range(40):
            began_ns = (12 + number) * S
            length_ns = S if number in (0, 7, 30) else S // 2
            trace.add_step(EngineStep(number, began_ns, began_ns + length_ns, 5, 0), has_token=number > 0)
        trace.record("stop")
        trace.record("cancelled")
    row = otlp.wait_for("generate", row=3, finish="stop")
    assert (row.began_ns, row.ended_ns) == (10 * S, 51 * S + S // 2)
    waiting, prefill, decode = (otlp.wait_for(name) for name in ("wait in queue", "prefill", "decode"))
    assert (waiting.ended_ns, prefill.began_ns, prefill.ended_ns) == (12 * S, 12 * S, 13 * S + S // 2)
    assert (prefill.attributes["prefixfleet.steps"], decode.attributes["prefixfleet.steps"]) == (2, 38)
    shown = [event["prefixfleet.step"] for _, event in decode.events]
    assert len(shown) == 16
    assert shown == sorted(shown)
    assert {7, 30} <= set(shown)


def test_a_row_that_was_never_admitted_only_waited(otlp):
    assert begin_row_trace(NO_SPAN, 0) is None
    with open_span("request") as span:
        RowTrace(span, 0).record("cancelled")
    row = otlp.wait_for("generate", finish="cancelled")
    assert otlp.list_children(row) == ["wait in queue"]


def test_rows_of_a_real_engine_end_their_spans_by_answers_errors_and_cancellation(
    otlp, tenants, running, collect_pieces, sources
):
    requests = [GenerationRequest(one, sources[0], max_tokens=5) for one in tenants.artifacts[:3]]

    def fail(*_):
        raise torch_error

    torch_error = RuntimeError("a caller's text")

    async def serve():
        async with running(tenants, rows=4) as engine:
            with open_span("answered"):
                await asyncio.gather(*(collect_pieces(engine, one) for one in requests[:2]))
            with open_span("cancelled"):
                (stream,) = await engine.submit(requests[2:])
                stream.cancel()
            await collect_pieces(engine, requests[0])  # without a trace
            handle = tenants.base.model.register_forward_pre_hook(fail)
            try:
                with open_span("failed"), pytest.raises(BaseModelError):
                    await collect_pieces(engine, requests[0])
            finally:
                handle.remove()

    asyncio.run(serve())
    answered, cancelled, failed = (otlp.wait_for(name) for name in ("answered", "cancelled", "failed"))
    assert otlp.list_children(answered).count("generate") == 2
    assert "generate" in otlp.list_children(cancelled)
    (row,) = [one for one in otlp.find("generate") if one.parent_id == failed.span_id]
    assert (row.is_failed, row.attributes["error.type"]) == (True, "BaseModelError")
    assert len(otlp.find("generate")) == 4
    assert not any(b"a caller's text" in body for body in otlp.bodies)
