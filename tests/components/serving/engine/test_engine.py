"""Requests that the engine refuses, the limits of its queue, and its shutdown."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from components.errors import ArtifactError, ConfigError, DataError, RegistryError
from components.serving.interface import BusyError, GenerationRequest


def test_beyond_the_limits_of_the_queue_the_engine_is_busy(
    tenants: Any, running: Any, collect_pieces: Any, sources: Any
) -> None:
    mine, other = (GenerationRequest(artifact, sources[0], max_tokens=30) for artifact in tenants.artifacts[:2])

    async def serve() -> None:
        async with running(tenants, rows=1, queue=5, tenant_queue=3) as engine:
            streams: list[Any] = await asyncio.gather(*(engine.submit(mine) for _ in range(8)), return_exceptions=True)
            refused = [one for one in streams if isinstance(one, BusyError)]
            assert len(refused) in (4, 5)
            assert all(0 < one.retry_after <= 60 for one in refused)
            await engine.submit(other)
            for stream in streams:
                if not isinstance(stream, BusyError):
                    stream.cancel()
            assert (await collect_pieces(engine, mine))[-1].finish

    asyncio.run(serve())


def test_what_cannot_be_answered_is_an_error_and_never_an_answer_of_the_base_alone(
    tenants: Any, running: Any, collect_pieces: Any, sources: Any
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
            tenants.store.fails = True
            with pytest.raises(RegistryError):
                await engine.submit(replace(good, artifact=tenants.artifacts[1]))
            assert (await collect_pieces(engine, good))[-1].finish
            assert "no answer from the store" in engine.health().artifact_store_error

    asyncio.run(serve())


def test_a_guided_row_is_refused_if_the_batch_has_one_place_only(
    tenants: Any, running: Any, collect_pieces: Any, sources: Any
) -> None:
    request = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=3)

    async def serve() -> None:
        async with running(tenants, rows=1) as engine, asyncio.timeout(60):
            with pytest.raises(ConfigError, match=r"serve\.rows"):
                await collect_pieces(engine, replace(request, guidance=2.0))
            assert (await collect_pieces(engine, request))[-1].finish

    asyncio.run(serve())


def test_draining_finishes_the_rows_and_refuses_new_ones(tenants: Any, running: Any, sources: Any) -> None:
    request = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=30)

    async def serve() -> None:
        async with running(tenants, rows=1) as engine:
            streams = [await engine.submit(request) for _ in range(3)]
            draining = asyncio.ensure_future(engine.drain())
            await asyncio.sleep(0)
            for stream in streams:
                pieces = [piece async for piece in stream]
                assert pieces[-1].finish
            await draining
            assert not engine.health().ready
            with pytest.raises(BusyError):
                await engine.submit(request)

    asyncio.run(serve())


def test_rows_are_answered_while_another_artifact_is_being_loaded(
    tenants: Any, running: Any, collect_pieces: Any, sources: Any
) -> None:
    loaded, cold = (GenerationRequest(artifact, sources[0], max_tokens=8) for artifact in tenants.artifacts[:2])

    async def serve() -> None:
        async with running(tenants) as engine:
            await collect_pieces(engine, loaded)
            tenants.store.may_answer.clear()
            waiting = asyncio.ensure_future(collect_pieces(engine, cold))
            assert (await collect_pieces(engine, loaded))[-1].finish
            assert not waiting.done()
            tenants.store.may_answer.set()
            assert (await waiting)[-1].finish

    asyncio.run(serve())
