"""The contender of the fairness benchmark: one tenant floods the engine, the others send one request at a time.

Request `number` belongs to tenant `number % tenants`; the first tenant floods. Knows the engine.
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
    """The waiting times of the tenants that do not flood, and the tokens that the flooding tenant received."""

    waits: list[float] = field(default_factory=list)
    """Seconds until each complete answer."""
    firsts: list[float] = field(default_factory=list)
    """Seconds until the first piece of each answer."""
    tokens: int = 0
    """Tokens that the flooding tenant received."""
    seconds: float = 0.0
    """Duration of the round."""


def run_flood(
    wait_for_turn: WaitForTurn, load: RequestLoad, tenants: int, count: int, floods: Sequence[int], rounds: int
) -> dict[str, list[FloodResult]]:
    """In every round, run the other tenants' `count` requests with each number of flooding requests in `floods`."""
    base = load.load_base()
    reset_peak_memory(base.model)
    limits = EngineLimits(rows=load.rows, queue=2 * max(floods) + tenants, tenant_queue=2 * max(floods) + tenants)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        engine = BatchEngine(base, ArtifactCache(base, StoredArtifactSource(load.store), Path(scratch)), limits)
        asyncio.run(_run_flood_round(make_engine_ask(engine), load, tenants, 1, 1))
        wait_for_turn()
        for _ in range(rounds):
            for flood in floods:
                results.append(asyncio.run(_run_flood_round(make_engine_ask(engine), load, tenants, count, flood)))
                wait_for_turn()
        asyncio.run(engine.drain())
    return {"results": results}


async def _run_flood_round(ask: AskFunction, load: RequestLoad, tenants: int, count: int, flood: int) -> FloodResult:
    result, numbers = FloodResult(), iter(range(0, 1 << 30, tenants))

    async def flood_engine() -> None:
        for number in numbers:
            async for _, tokens in ask(load.make_request(number, tenants)):
                result.tokens += tokens

    async def send_requests(tenant: int) -> None:
        for number in range(count):
            started, first = time.perf_counter(), 0.0
            async for _ in ask(load.make_request(number * tenants + tenant, tenants)):
                first = first or time.perf_counter() - started
            result.waits.append(time.perf_counter() - started)
            result.firsts.append(first)

    started = time.perf_counter()
    flooding: list[asyncio.Task[Any]] = [asyncio.create_task(flood_engine()) for _ in range(flood)]
    await asyncio.gather(*(send_requests(tenant) for tenant in range(1, tenants)))
    for client in flooding:
        client.cancel()
    await asyncio.gather(*flooding, return_exceptions=True)
    result.seconds = time.perf_counter() - started
    return result
