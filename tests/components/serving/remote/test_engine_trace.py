"""A row that vLLM servers answer: each gets W3C's header of the span of its part of the answer."""

import asyncio
from typing import Any

from fake_vllm import run_fake_vllm

from components.otel.spans import open_span
from components.serving.interface import GenerationRequest


def test_the_trace_goes_on_in_the_engine_and_in_the_one_that_takes_over(
    otlp: Any, tenants: Any, running_remote: Any, collect_pieces: Any, sources: Any
) -> None:
    request = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=6)

    async def serve() -> None:
        with run_fake_vllm(tenants.base) as one, run_fake_vllm(tenants.base) as other:
            one.breaks_after = other.breaks_after = 2
            async with running_remote(tenants, [one, other]) as remote:
                with open_span("request"):
                    await collect_pieces(remote, request)
                await collect_pieces(remote, request)
            sent = [header for fake in (one, other) for header in fake.traceparents]
            whole = otlp.wait_for("request")
            asked = [span for span in otlp.find("ask vLLM") if span.trace_id == whole.trace_id]
            assert {span.parent_id for span in asked} == {whole.span_id}
            assert {span.kind for span in asked} == {"client"}
            headers = {f"00-{span.trace_id}-{span.span_id}-01" for span in asked}
            assert headers <= set(sent)
            assert len(asked) >= 3
            assert [span.is_failed for span in asked] == [True] * (len(asked) - 1) + [False]
            assert asked[0].attributes["server.address"] in (one.url[7:], other.url[7:])

    asyncio.run(serve())
