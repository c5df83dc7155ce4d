"""PrefixFleet alone: new versions under load, and a fleet that is larger than the memory for artifacts.

Knows the engine. How a server follows MLflow's aliases is not measured here.
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
    wait_for_turn: WaitForTurn,
    load: RequestLoad,
    new_versions: Sequence[ArtifactRef],
    tenants: int,
    count: int,
    rounds: int,
) -> dict[str, Any]:
    """Answer `count` requests alternately without and with swaps to the new versions, evenly spaced.

    A swap does what a server does when an alias moves: it loads the version, then new requests use it.
    """
    base = load.load_base()
    loaded_bytes = reset_peak_memory(base.model)
    total = len(new_versions)
    parts = [new_versions[number * total // rounds : (number + 1) * total // rounds] for number in range(rounds)]
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        engine = BatchEngine(
            base, ArtifactCache(base, StoredArtifactSource(load.store), Path(scratch)), EngineLimits(rows=load.rows)
        )
        asyncio.run(_SwapTraffic(engine, load, tenants, 4 * tenants).answer_all([]))
        wait_for_turn()
        for part in parts:
            for swaps in ([], part):
                traffic = _SwapTraffic(engine, load, tenants, count)
                asyncio.run(traffic.answer_all(swaps))
                runs.append(traffic)
                wait_for_turn()
        asyncio.run(engine.drain())
    results = [(one.waits, one.firsts, one.load_seconds, one.first_answer_seconds) for one in runs]
    return {"results": results, "loaded_bytes": loaded_bytes}


class _SwapTraffic:
    """One client for each tenant, and the version that answers each tenant."""

    def __init__(self, engine: BatchEngine, load: RequestLoad, tenants: int, count: int) -> None:
        self._engine, self._load, self._tenants, self._count = engine, load, tenants, count
        self._current = {artifact.tenant: artifact for artifact in load.artifacts[:tenants]}
        self._done = 0
        self.waits: list[float] = []
        self.firsts: list[float] = []
        self.load_seconds: list[float] = []
        """Seconds from the start of each swap until the version is loaded."""
        self.first_answer_seconds: list[float] = []
        """Seconds from the start of each swap until the first piece of an answer of the new version."""

    async def answer_all(self, new_versions: Sequence[ArtifactRef]) -> None:
        """Answer all requests and swap versions meanwhile."""
        numbers = iter(range(self._count))
        clients = [self._run_client(numbers) for _ in range(self._tenants)]
        await asyncio.gather(*clients, self._swap_versions(new_versions))

    async def _run_client(self, numbers: Any) -> None:
        for number in numbers:
            request = self._load.make_request(number, self._tenants)
            started = time.perf_counter()
            self.firsts.append(await self._ask(self._current[request.artifact.tenant], request))
            self.waits.append(time.perf_counter() - started)
            self._done += 1

    async def _swap_versions(self, new_versions: Sequence[ArtifactRef]) -> None:
        for number, artifact in enumerate(new_versions):
            while self._done < (number + 1) * self._count // (len(new_versions) + 1):
                await asyncio.sleep(0.005)
            started = time.perf_counter()
            await self._engine.artifact_cache.acquire(artifact)
            self._engine.artifact_cache.release(artifact)
            self.load_seconds.append(time.perf_counter() - started)
            self._current[artifact.tenant] = artifact
            first = await self._ask(artifact, self._load.make_request(number, self._tenants))
            self.first_answer_seconds.append(self.load_seconds[-1] + first)

    async def _ask(self, artifact: ArtifactRef, like: GenerationRequest) -> float:
        """Send a request, read the whole answer, and return the seconds until its first piece."""
        started, first = time.perf_counter(), 0.0
        request = GenerationRequest(artifact, like.source, max_tokens=like.max_tokens)
        async for _ in (await self._engine.submit([request]))[0]:
            first = first or time.perf_counter() - started
        return first


def measure_residency(
    wait_for_turn: WaitForTurn, load: RequestLoad, slots: int, registered: int, resident: int
) -> dict[str, Any]:
    """Register tenants, with memory for `resident` artifacts, and send one request to 1.2 x `resident` tenants."""
    base = load.load_base()
    with tempfile.TemporaryDirectory() as scratch:
        source = GeneratedArtifactSource(base, slots, Path(scratch) / "made", registered)
        before_bytes = reset_peak_memory(base.model)
        shape = base.shape
        size = 2 * shape.layers * shape.kv_heads * slots * shape.head_dim * base.model.dtype.itemsize
        memory = ArtifactMemoryLimits(device=size * resident, disk=4 * size)
        engine = BatchEngine(
            base, ArtifactCache(base, source, Path(scratch) / "kept", memory), EngineLimits(rows=load.rows)
        )
        requested = source.artifacts[: resident + resident // 5]
        wait_for_turn()

        async def send_requests() -> None:
            clients = asyncio.Semaphore(load.rows)

            async def send_request(artifact: ArtifactRef) -> None:
                async with clients:
                    request = GenerationRequest(artifact, load.texts[0], max_tokens=1)
                    _ = [piece async for piece in (await engine.submit([request]))[0]]

            await asyncio.gather(*map(send_request, requested))

        asyncio.run(send_requests())
        wait_for_turn()
        device, _, used = engine.artifact_cache.counts
        after_bytes = reset_peak_memory()
        asyncio.run(engine.drain())
    return {
        "before_bytes": before_bytes,
        "after_bytes": after_bytes,
        "resident": device,
        "used_bytes": used,
        "requested": len(requested),
        "artifact_bytes": size,
    }
