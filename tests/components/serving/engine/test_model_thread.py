"""Cancelled rows leave, and queued tenants are served by turns."""

import asyncio
import threading
from typing import Any

from components.serving.engine.batch import DecoderBatch
from components.serving.interface import GenerationRequest


def test_a_cancelled_row_leaves_and_the_others_go_on(
    tenants: Any, running: Any, collect_pieces: Any, join_pieces: Any, sources: Any
) -> None:
    first, *others = [GenerationRequest(artifact, sources[3], max_tokens=24) for artifact in tenants.artifacts]

    async def serve() -> list[Any]:
        async with running(tenants, rows=3) as engine:
            collecting = [asyncio.ensure_future(collect_pieces(engine, one)) for one in others]
            async for _ in (await engine.submit([first]))[0]:
                break
            queued = (await engine.submit([first]))[0]
            queued.cancel()
            queued.cancel()
            async with asyncio.timeout(60):
                assert not any([piece.finish async for piece in queued])
                answers = await asyncio.gather(*collecting)
                while (engine.health().running, engine.health().queued) != (0, 0):
                    await asyncio.sleep(0.001)
            assert all(engine.artifact_cache.count_pins(artifact) == 0 for artifact in tenants.artifacts)
            return answers

    for request, pieces in zip(others, asyncio.run(serve()), strict=True):
        assert join_pieces(pieces) == tenants.answer_alone(request)


def test_many_rows_of_one_tenant_do_not_delay_another_tenants(
    tenants: Any, running: Any, collect_pieces: Any, sources: Any, monkeypatch: Any
) -> None:
    """The model waits until all rows are queued, so that the order in which they enter depends on the queue alone."""
    flood, polite = (GenerationRequest(artifact, sources[0], max_tokens=12) for artifact in tenants.artifacts[:2])
    all_queued, entered = threading.Event(), list[str]()
    add, step = DecoderBatch.add, DecoderBatch.step

    def record(self: DecoderBatch, sequence: Any) -> None:
        entered.append(sequence.tenant)
        add(self, sequence)

    def wait(self: DecoderBatch) -> Any:
        all_queued.wait(60)
        return step(self)

    monkeypatch.setattr(DecoderBatch, "add", record)
    monkeypatch.setattr(DecoderBatch, "step", wait)

    async def serve() -> None:
        async with running(tenants, rows=2) as engine:
            streams = [(await engine.submit([request]))[0] for request in [flood] * 40 + [polite] * 5]
            all_queued.set()
            for stream in streams:
                async for _ in stream:
                    pass

    asyncio.run(serve())
    assert len(entered) == 45
    last = max(number for number, tenant in enumerate(entered) if tenant == polite.artifact.tenant)
    before = entered[:last].count(flood.artifact.tenant)
    assert before <= 2 + 5, "the two that entered first, and one for each polite row"
