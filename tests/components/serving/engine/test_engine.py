"""Requests that the engine refuses, the limits of its queue, and its shutdown."""

import asyncio
import copy
import threading
from dataclasses import replace
from typing import Any

import pytest

from components.errors import ArtifactError, ConfigError, DataError, RegistryError
from components.serving.engine.batch import DecoderBatch
from components.serving.interface import BusyError, GenerationRequest


def test_beyond_the_limits_of_the_queue_the_engine_is_busy(
    tenants: Any, running: Any, collect_pieces: Any, sources: Any
) -> None:
    mine, other = (GenerationRequest(artifact, sources[0], max_tokens=30) for artifact in tenants.artifacts[:2])

    async def serve() -> None:
        async with running(tenants, rows=1, queue=5, tenant_queue=3) as engine:
            sent = (engine.submit([mine]) for _ in range(8))
            streams: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
            refused = [one for one in streams if isinstance(one, BusyError)]
            assert len(refused) in (4, 5)
            assert all(0 < one.retry_after <= 60 for one in refused)
            await engine.submit([other])
            for stream in streams:
                if not isinstance(stream, BusyError):
                    stream[0].cancel()
            assert (await collect_pieces(engine, mine))[-1].finish

    asyncio.run(serve())


def test_the_rows_of_a_request_are_queued_together_or_not_at_all(
    tenants: Any, running: Any, collect_pieces: Any, sources: Any, monkeypatch: Any
) -> None:
    row = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=30)
    new = replace(row, source="a source that nobody has sent")
    may_step, step = threading.Event(), DecoderBatch.step
    monkeypatch.setattr(DecoderBatch, "step", lambda batch: step(batch) if may_step.wait(60) else None)

    async def serve() -> None:
        async with running(tenants, rows=1, queue=100, tenant_queue=4) as engine:
            first = await engine.submit([row] * 10)
            assert len(first) == 10, "alone, a request may have more rows than the limit"
            while engine.health().running == 0:
                await asyncio.sleep(0.001)
            for stream in first[5:]:
                stream.cancel()
            pins = engine.artifact_cache.count_pins(row.artifact)
            encode, acquire = engine._encoder.encode, engine.artifact_cache.acquire
            monkeypatch.setattr(engine._encoder, "encode", None)
            monkeypatch.setattr(engine.artifact_cache, "acquire", None)
            with pytest.raises(
                BusyError, match=r"at most 4 of one tenant; got 4 queued rows, 4 of tenant-0, and 3 more"
            ):
                await engine.submit([row, row, new])
            assert engine.artifact_cache.count_pins(row.artifact) == pins
            monkeypatch.setattr(engine._encoder, "encode", encode)
            monkeypatch.setattr(engine.artifact_cache, "acquire", acquire)
            for stream in first:
                stream.cancel()
            may_step.set()
            with pytest.raises(DataError):
                await engine.submit([row, replace(row, source="a" * 62)])
            assert engine.health().queued == 0
            assert (await collect_pieces(engine, row))[-1].finish
            while engine.health().running:
                await asyncio.sleep(0.001)
            assert engine.artifact_cache.count_pins(row.artifact) == 0

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
                    await engine.submit([bad])
            tenants.store.fails = True
            with pytest.raises(RegistryError):
                await engine.submit([replace(good, artifact=tenants.artifacts[1])])
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
            streams = [(await engine.submit([request]))[0] for _ in range(3)]
            draining = asyncio.ensure_future(engine.drain())
            await asyncio.sleep(0)
            for stream in streams:
                pieces = [piece async for piece in stream]
                assert pieces[-1].finish
            await draining
            assert not engine.health().ready
            with pytest.raises(BusyError):
                await engine.submit([request])

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


def test_a_prompt_with_a_token_that_the_model_does_not_know_is_refused_and_the_others_are_answered(
    base: Any, make_tenants: Any, running: Any, collect_pieces: Any, sources: Any
) -> None:
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.add_tokens(["~"])
    tenants = make_tenants(replace(base, tokenizer=tokenizer))
    good = GenerationRequest(tenants.artifacts[0], sources[0], max_tokens=3)

    async def serve() -> None:
        async with running(tenants) as engine, asyncio.timeout(60):
            with pytest.raises(DataError, match=r"token ids below 67.*got id 67 \('~'\) in 'a~'"):
                await engine.submit([replace(good, source="a~")])
            assert (await collect_pieces(engine, good))[-1].finish

    asyncio.run(serve())
