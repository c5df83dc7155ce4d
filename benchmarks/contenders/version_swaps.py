"""New versions under load, and a fleet that is larger than the memory for artifacts: two sides that are ours alone.

Knows the engine. What follows MLflow's aliases in a server is not measured here.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.alternating_runs import WaitForTurn, reset_peak_memory
from harness.request_load import GeneratedArtifactSource, RequestLoad, StoredArtifactSource

from components.serving.engine import BatchEngine, EngineLimits
from components.serving.engine.artifacts.cache import ArtifactCache, ArtifactMemoryLimits
from components.serving.interface import ArtifactRef, GenerationRequest


def run_swaps(
    turn: WaitForTurn, load: RequestLoad, news: Sequence[ArtifactRef], tenants: int, count: int, rounds: int
) -> dict[str, Any]:
    """Answer `count` requests, in turns without and with swaps to the `news`, spread evenly over them.

    Each swap does what a server does that sees a moved alias: it loads the version, then lets new requests have it.
    """
    base = load.load_base()
    standing = reset_peak_memory(base.model)
    found, parts = [], [news[turn * len(news) // rounds : (turn + 1) * len(news) // rounds] for turn in range(rounds)]
    with tempfile.TemporaryDirectory() as scratch:
        engine = BatchEngine(
            base, ArtifactCache(base, StoredArtifactSource(load.store), Path(scratch)), EngineLimits(rows=load.rows)
        )
        asyncio.run(_SwapTraffic(engine, load, tenants, 4 * tenants).answer_all([]))
        turn()
        for part in parts:
            for mine in ([], part):
                traffic = _SwapTraffic(engine, load, tenants, count)
                asyncio.run(traffic.answer_all(mine))
                found.append(traffic)
                turn()
        asyncio.run(engine.drain())
    told = [(one.waits, one.firsts, one.load_seconds, one.first_answer_seconds) for one in found]
    return {"found": told, "loaded_bytes": standing}


class _SwapTraffic:
    """Clients of some tenants, one each, and the versions that answer them."""

    def __init__(self, engine: BatchEngine, load: RequestLoad, tenants: int, count: int) -> None:
        self._engine, self._load, self._tenants, self._count = engine, load, tenants, count
        self._current = {artifact.tenant: artifact for artifact in load.artifacts[:tenants]}
        self._done = 0
        self.waits: list[float] = []
        self.firsts: list[float] = []
        self.load_seconds: list[float] = []
        """Seconds from a version's call to its being resident."""
        self.first_answer_seconds: list[float] = []
        """Seconds from a version's call to the first piece of an answer under it."""

    async def answer_all(self, news: Sequence[ArtifactRef]) -> None:
        """Answer all, and swap meanwhile."""
        numbers = iter(range(self._count))
        clients = [self._run_client(numbers) for _ in range(self._tenants)]
        await asyncio.gather(*clients, self._swap_versions(news))

    async def _run_client(self, numbers: Any) -> None:
        for number in numbers:
            asked = self._load.make_request(number, self._tenants)
            began = time.perf_counter()
            self.firsts.append(await self._ask(self._current[asked.artifact.tenant], asked))
            self.waits.append(time.perf_counter() - began)
            self._done += 1

    async def _swap_versions(self, news: Sequence[ArtifactRef]) -> None:
        for number, artifact in enumerate(news):
            while self._done < (number + 1) * self._count // (len(news) + 1):
                await asyncio.sleep(0.005)
            began = time.perf_counter()
            await self._engine.artifact_cache.acquire(artifact)
            self._engine.artifact_cache.release(artifact)
            self.load_seconds.append(time.perf_counter() - began)
            self._current[artifact.tenant] = artifact
            first = await self._ask(artifact, self._load.make_request(number, self._tenants))
            self.first_answer_seconds.append(self.load_seconds[-1] + first)

    async def _ask(self, artifact: ArtifactRef, like: GenerationRequest) -> float:
        """Seconds until the first piece of an answer, once the whole is there."""
        began, first = time.perf_counter(), 0.0
        asked = GenerationRequest(artifact, like.source, max_tokens=like.max_tokens)
        async for _ in await self._engine.submit(asked):
            first = first or time.perf_counter() - began
        return first


def measure_residency(
    turn: WaitForTurn, load: RequestLoad, slots: int, registered: int, resident: int
) -> dict[str, Any]:
    """Let `registered` tenants be known and room be for `resident`; ask a fifth more than that, one after the other."""
    base = load.load_base()
    with tempfile.TemporaryDirectory() as scratch:
        source = GeneratedArtifactSource(base, slots, Path(scratch) / "made", registered)
        known = reset_peak_memory(base.model)
        shape = base.shape
        size = 2 * shape.layers * shape.kv_heads * slots * shape.head_dim * base.model.dtype.itemsize
        memory = ArtifactMemoryLimits(device=size * resident, disk=4 * size)
        engine = BatchEngine(
            base, ArtifactCache(base, source, Path(scratch) / "kept", memory), EngineLimits(rows=load.rows)
        )
        asked = source.artifacts[: resident + resident // 5]
        turn()

        async def ask() -> None:
            clients = asyncio.Semaphore(load.rows)

            async def one(artifact: ArtifactRef) -> None:
                async with clients:
                    request = GenerationRequest(artifact, load.texts[0], max_tokens=1)
                    _ = [piece async for piece in await engine.submit(request)]

            await asyncio.gather(*map(one, asked))

        asyncio.run(ask())
        turn()
        device, _, used = engine.artifact_cache.counts
        after = reset_peak_memory()
        asyncio.run(engine.drain())
    return {"known": known, "after": after, "device": device, "used": used, "asked": len(asked), "size": size}
