"""A row that vLLM servers answer: each gets W3C's header of the span of its part of the answer."""

import asyncio
from typing import Any

from fake_vllm import run_fake_vllm
from waiting import wait_until

from components.otel.spans import open_span
from components.serving.interface import GenerationRequest, TokenControls


def test_the_trace_goes_on_in_the_engine_and_in_the_one_that_takes_over(
    otlp: Any, tenants: Any, running_remote: Any, collect_pieces: Any, sources: Any
) -> None:
    at_least = TokenControls(min_new_tokens=5)  # so that the first server breaks before the end
    request = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=6, controls=at_least)

    async def serve() -> tuple[Any, Any]:
        with run_fake_vllm(tenants.base) as one, run_fake_vllm(tenants.base) as other:
            async with running_remote(tenants, [one, other]) as remote:
                await collect_pieces(remote, request)  # without a trace
                first, second = (one, other) if one.bodies else (other, one)
                first.breaks_after = 2
                with open_span("request"):
                    await collect_pieces(remote, request)
            return first, second

    first, second = asyncio.run(serve())
    whole = otlp.wait_for("request")
    asked = wait_until(lambda: len(found := otlp.find("ask vLLM")) == 2 and found, "the spans of both servers")
    assert {(span.trace_id, span.parent_id, span.kind) for span in asked} == {(whole.trace_id, whole.span_id, "client")}
    assert [span.is_failed for span in asked] == [True, False]
    assert [span.attributes["server.address"] for span in asked] == [first.url[7:], second.url[7:]]
    untraced, *sent = [*first.traceparents, *second.traceparents]
    assert untraced == ""
    assert [header[:-2] for header in sent] == [f"00-{span.trace_id}-{span.span_id}-" for span in asked]
