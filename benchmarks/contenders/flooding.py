"""A side of the fairness benchmark: one tenant asks for more than can be computed, others one request at a time.

Request `number` is of tenant `number % tenants`; the first tenant is the one that floods. Knows the engine.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.alternating_runs import WaitForTurn, reset_peak_memory
from harness.request_load import RequestLoad, StoredArtifactSource

from components.serving.engine import BatchEngine, EngineLimits
from components.serving.engine.artifacts.cache import ArtifactCache
from contenders.serving import AskFunction, make_engine_ask


@dataclass
class FloodResult:
    """What the tenants beside the flood waited for, and what the flood was given."""

    waits: list[float] = field(default_factory=list)
    """Seconds until each whole answer."""
    firsts: list[float] = field(default_factory=list)
    """Seconds until the first piece of it."""
    tokens: int = 0
    """That were written for the flood meanwhile."""
    seconds: float = 0.0


def run_flood(
    turn: WaitForTurn, load: RequestLoad, tenants: int, count: int, floods: Sequence[int], rounds: int
) -> dict[str, list[FloodResult]]:
    """In every round, for each of `floods` requests in flight: the other tenants ask `count` times each."""
    base = load.load_base()
    reset_peak_memory(base.model)
    limits = EngineLimits(rows=load.rows, queue=2 * max(floods) + tenants, tenant_queue=2 * max(floods) + tenants)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        engine = BatchEngine(base, ArtifactCache(base, StoredArtifactSource(load.store), Path(scratch)), limits)
        asyncio.run(_run_flood_round(make_engine_ask(engine), load, tenants, 1, 1))
        turn()
        for _ in range(rounds):
            for flood in floods:
                found.append(asyncio.run(_run_flood_round(make_engine_ask(engine), load, tenants, count, flood)))
                turn()
        asyncio.run(engine.drain())
    return {"found": found}


async def _run_flood_round(ask: AskFunction, load: RequestLoad, tenants: int, count: int, flood: int) -> FloodResult:
    crowd, numbers = FloodResult(), iter(range(0, 1 << 30, tenants))

    async def flooding() -> None:
        for number in numbers:
            async for _, tokens in ask(load.make_request(number, tenants)):
                crowd.tokens += tokens

    async def asking(tenant: int) -> None:
        for turn in range(count):
            began, first = time.perf_counter(), 0.0
            async for _ in ask(load.make_request(turn * tenants + tenant, tenants)):
                first = first or time.perf_counter() - began
            crowd.waits.append(time.perf_counter() - began)
            crowd.firsts.append(first)

    async def flooded_for(others: "asyncio.Future[Any]") -> None:
        clients: list[asyncio.Task[Any]] = [asyncio.create_task(flooding()) for _ in range(flood)]
        await others
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    began = time.perf_counter()
    await flooded_for(asyncio.gather(*(asking(tenant) for tenant in range(1, tenants))))
    crowd.seconds = time.perf_counter() - began
    return crowd
