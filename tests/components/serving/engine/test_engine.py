"""What is refused at the engine's door, what waits there, and how it closes."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from components.errors import ArtifactError, ConfigError, DataError, RegistryError
from components.serving.interface import BusyError, GenerationRequest


def test_beyond_its_bounds_the_engine_is_busy(tenants: Any, running: Any, pieces_of: Any, sources: Any) -> None:
    mine, other = (GenerationRequest(artifact, sources[0], max_tokens=30) for artifact in tenants.artifacts[:2])

    async def serve() -> None:
        async with running(tenants, rows=1, queue=5, tenant_queue=3) as engine:
            answers: list[Any] = await asyncio.gather(*(engine.submit(mine) for _ in range(8)), return_exceptions=True)
            refused = [one for one in answers if isinstance(one, BusyError)]
            assert len(refused) in (4, 5)
            assert all(0 < one.retry_after <= 60 for one in refused)
            await engine.submit(other)
            for answer in answers:
                if not isinstance(answer, BusyError):
                    answer.cancel()
            assert (await pieces_of(engine, mine))[-1].finish

    asyncio.run(serve())


def test_what_cannot_be_answered_is_an_error_and_never_the_plain_base(
    tenants: Any, running: Any, pieces_of: Any, sources: Any
) -> None:
    good = GenerationRequest(tenants.artifacts[0], sources[0])

    async def serve() -> None:
        async with running(tenants) as engine:
            for bad, error in (
                (replace(good, source="  "), DataError),
                (replace(good, source="a" * 62), DataError),
                (replace(good, artifact=replace(good.artifact, sha256="0" * 64)), ArtifactError),
                (replace(good, artifact=replace(good.artifact, tenant="tenant-9")), ArtifactError),
            ):
                with pytest.raises(error):
                    await engine.submit(bad)
            tenants.store.down = True
            with pytest.raises(RegistryError):
                await engine.submit(replace(good, artifact=tenants.artifacts[1]))
            assert (await pieces_of(engine, good))[-1].finish
            assert "no answer from the store" in engine.health().artifact_store_error

    asyncio.run(serve())


def test_a_row_that_never_finds_room_is_refused_and_holds_up_nobody(
    tenants: Any, running: Any, pieces_of: Any, sources: Any
) -> None:
    request = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=3)

    async def serve() -> None:
        async with running(tenants, rows=1) as engine:
            with pytest.raises(ConfigError, match=r"serve\.rows"):
                await asyncio.wait_for(pieces_of(engine, replace(request, guidance=2.0)), 10)
            assert (await asyncio.wait_for(pieces_of(engine, request), 10))[-1].finish

    asyncio.run(serve())


def test_a_drained_engine_finishes_its_rows_and_takes_no_more(tenants: Any, running: Any, sources: Any) -> None:
    request = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=30)

    async def serve() -> None:
        async with running(tenants, rows=1) as engine:
            answers = [await engine.submit(request) for _ in range(3)]
            draining = asyncio.ensure_future(engine.drain())
            await asyncio.sleep(0)
            for answer in answers:
                pieces = [piece async for piece in answer]
                assert pieces[-1].finish
            await draining
            assert not engine.health().ready
            with pytest.raises(BusyError):
                await engine.submit(request)

    asyncio.run(serve())


def test_loading_does_not_hold_up_decoding(tenants: Any, running: Any, pieces_of: Any, sources: Any) -> None:
    warm, cold = (GenerationRequest(artifact, sources[0], max_tokens=8) for artifact in tenants.artifacts[:2])

    async def serve() -> None:
        async with running(tenants) as engine:
            await pieces_of(engine, warm)
            tenants.store.open.clear()
            waiting = asyncio.ensure_future(pieces_of(engine, cold))
            start = time.monotonic()
            assert (await pieces_of(engine, warm))[-1].finish
            assert time.monotonic() - start < 10
            assert not waiting.done()
            tenants.store.open.set()
            assert (await waiting)[-1].finish

    asyncio.run(serve())
