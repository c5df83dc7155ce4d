"""Rows that nobody wants any more, and tenants that ask for much."""

import asyncio
from collections import Counter
from typing import Any

from components.serving.interface import GenerationRequest


async def _all(answer: Any) -> list[Any]:
    return [piece async for piece in answer]


def test_a_row_that_nobody_wants_leaves_and_the_others_go_on(
    tenants: Any, running: Any, pieces_of: Any, joined: Any, sources: Any
) -> None:
    first, *others = [GenerationRequest(artifact, sources[3], max_tokens=24) for artifact in tenants.artifacts]

    async def serve() -> list[Any]:
        async with running(tenants, rows=3) as engine:
            gathered = [asyncio.ensure_future(pieces_of(engine, one)) for one in others]
            answer = await engine.submit(first)
            async for _ in answer:
                break
            waiting = await engine.submit(first)
            reading = asyncio.ensure_future(_all(waiting))
            waiting.cancel()
            waiting.cancel()
            assert not any(piece.finish for piece in await asyncio.wait_for(reading, 10))
            texts = await asyncio.gather(*gathered)
            await asyncio.sleep(0.05)
            health = engine.health()
            assert (health.running, health.queued) == (0, 0)
            assert all(engine.artifact_cache.count_pins(artifact) == 0 for artifact in tenants.artifacts)
            return texts

    for request, pieces in zip(others, asyncio.run(serve()), strict=True):
        assert joined(pieces) == tenants.alone(request)


def test_one_tenants_flood_does_not_starve_another(tenants: Any, running: Any, sources: Any) -> None:
    flood, polite = tenants.artifacts[:2]

    async def serve() -> list[str]:
        done: list[str] = []
        async with running(tenants, rows=2) as engine:

            async def one(request: GenerationRequest, name: str) -> None:
                async for _ in await engine.submit(request):
                    pass
                done.append(name)

            tasks = [
                asyncio.ensure_future(one(GenerationRequest(flood, sources[3], max_tokens=12), "flood"))
                for _ in range(40)
            ]
            await asyncio.sleep(0.05)
            for _ in range(5):
                tasks.append(asyncio.ensure_future(one(GenerationRequest(polite, sources[0], max_tokens=12), "polite")))
            await asyncio.gather(*tasks)
        return done

    done = asyncio.run(serve())
    behind = len(done) - 1 - done[::-1].index("polite")
    assert Counter(done[: behind + 1])["flood"] <= 15, "five polite rows waited for most of forty"
