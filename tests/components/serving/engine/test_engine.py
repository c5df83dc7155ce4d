"""What the engine promises around its rows: bounds, fairness, cancelling, trouble, and the end."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from components.errors import ArtifactError, BaseModelError, ConfigError, DataError
from components.model.base import Base
from components.model.delta import applied
from components.serving.engine.batch import Batch
from components.serving.requests import BusyError, Request


@pytest.fixture(scope="module")
def base(build_base: Callable[..., Base]) -> Base:
    return build_base("gpt2")


@pytest.fixture
def tenants(base: Base, tenants_of: Any) -> Any:
    return tenants_of(base)


async def _all(answer: Any) -> list[Any]:
    return [piece async for piece in answer]


def test_a_row_that_nobody_wants_leaves_and_the_others_go_on(
    tenants: Any, running: Any, pieces_of: Any, joined: Any, sources: Any
) -> None:
    first, *others = [Request(artifact, sources[3], max_tokens=24) for artifact in tenants.artifacts]

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
            assert all(engine.residents.pinned(artifact) == 0 for artifact in tenants.artifacts)
            return texts

    for request, pieces in zip(others, asyncio.run(serve()), strict=True):
        assert joined(pieces) == tenants.alone(request)


def test_beyond_its_bounds_the_engine_is_busy(tenants: Any, running: Any, pieces_of: Any, sources: Any) -> None:
    mine, other = (Request(artifact, sources[0], max_tokens=30) for artifact in tenants.artifacts[:2])

    async def serve() -> None:
        async with running(tenants, rows=1, queue=5, tenant_queue=3) as engine:
            answers = await asyncio.gather(*(engine.submit(mine) for _ in range(8)), return_exceptions=True)
            refused = [one for one in answers if isinstance(one, BusyError)]
            assert len(refused) in (4, 5)
            assert all(0 < one.retry_after <= 60 for one in refused)
            await engine.submit(other)
            for answer in answers:
                if not isinstance(answer, BusyError):
                    answer.cancel()
            assert (await pieces_of(engine, mine))[-1].finish

    asyncio.run(serve())


def test_one_tenants_flood_does_not_starve_another(tenants: Any, running: Any, sources: Any) -> None:
    flood, polite = tenants.artifacts[:2]

    async def serve() -> list[str]:
        done: list[str] = []
        async with running(tenants, rows=2) as engine:

            async def one(request: Request, name: str) -> None:
                async for _ in await engine.submit(request):
                    pass
                done.append(name)

            tasks = [asyncio.ensure_future(one(Request(flood, sources[3], max_tokens=12), "flood")) for _ in range(40)]
            await asyncio.sleep(0.05)
            for _ in range(5):
                tasks.append(asyncio.ensure_future(one(Request(polite, sources[0], max_tokens=12), "polite")))
            await asyncio.gather(*tasks)
        return done

    done = asyncio.run(serve())
    behind = len(done) - 1 - done[::-1].index("polite")
    assert Counter(done[: behind + 1])["flood"] <= 15, "five polite rows waited for most of forty"


def test_what_cannot_be_answered_is_an_error_and_never_the_plain_base(
    tenants: Any, running: Any, pieces_of: Any, sources: Any
) -> None:
    good = Request(tenants.artifacts[0], sources[0])

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
            assert (await pieces_of(engine, good))[-1].finish
            assert "none of this content" in engine.health().trouble

    asyncio.run(serve())


def test_one_rows_trouble_is_its_own(
    tenants: Any, running: Any, pieces_of: Any, joined: Any, sources: Any, monkeypatch: Any
) -> None:
    bad, *good = [Request(artifact, sources[2], max_tokens=8) for artifact in tenants.artifacts]
    read = Batch._put

    def poisoned(self: Batch, reader: Any) -> None:
        if reader.slots_L2HPD is not None and reader.slots_L2HPD.shape[3] == 1:
            reader.slots_L2HPD = torch.full_like(reader.slots_L2HPD, torch.nan)
        read(self, reader)

    monkeypatch.setattr(Batch, "_put", poisoned)

    async def serve() -> list[Any]:
        async with running(tenants, rows=8) as engine:
            for _ in range(2):  # the place that the first leaves is taken again
                found = await asyncio.gather(
                    pieces_of(engine, bad), *(pieces_of(engine, one) for one in good), return_exceptions=True
                )
                assert isinstance(found[0], BaseModelError)
            return found[1:]

    answers = asyncio.run(serve())
    for request, pieces in zip(good, answers, strict=True):
        assert joined(pieces) == tenants.alone(request)


def test_a_step_that_fails_for_one_row_alone_fails_it_alone(
    tenants: Any, running: Any, pieces_of: Any, joined: Any, sources: Any
) -> None:
    model = tenants.base.model
    requests = [Request(artifact, sources[1], max_tokens=8) for artifact in tenants.artifacts]
    requests[2] = replace(requests[2], source="a,")
    ((comma, _eos),) = tenants.base.texts.sources([","])

    def refusing(_model: Any, _args: Any, kwargs: Any) -> None:
        ids = kwargs["input_ids"][0].tolist()
        if (comma, 0) in itertools.pairwise(ids):
            raise RuntimeError("an id that this kernel cannot take")

    expected = [tenants.alone(request) for request in requests]
    handle = model.register_forward_pre_hook(refusing, with_kwargs=True)

    async def serve() -> list[Any]:
        async with running(tenants, rows=8) as engine:
            return await asyncio.gather(*(pieces_of(engine, one) for one in requests), return_exceptions=True)

    try:
        found = asyncio.run(serve())
    finally:
        handle.remove()
    assert isinstance(found[2], BaseModelError)
    assert "cannot take" in str(found[2])
    for place in (0, 1, 3, 4):
        assert joined(found[place]) == expected[place]


def test_a_drained_engine_finishes_its_rows_and_takes_no_more(tenants: Any, running: Any, sources: Any) -> None:
    request = Request(tenants.artifacts[0], sources[0], max_tokens=30)

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
    warm, cold = (Request(artifact, sources[0], max_tokens=8) for artifact in tenants.artifacts[:2])

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


def test_log_probabilities_are_the_models_own(tenants: Any, running: Any, pieces_of: Any, sources: Any) -> None:
    request = Request(tenants.artifacts[1], sources[0], max_tokens=6, logprobs=3, temperature=0.7, seed=1)

    async def serve() -> list[Any]:
        async with running(tenants) as engine:
            return await pieces_of(engine, request)

    tokens = [token for piece in asyncio.run(serve()) for token in piece.tokens]
    text, _ = tenants.alone(request)
    assert "".join(token.text for token in tokens).strip() == text
    delta = tenants.deltas[request.artifact.tenant]
    (source,) = tenants.base.texts.sources([request.source])
    for count, token in enumerate(tokens):
        new = [tenants.base.tokenizer.convert_tokens_to_ids(one.text) for one in tokens[: count + 1]]
        ids = torch.tensor([[*source, *new[:-1]]])
        with applied(tenants.base, [delta]), torch.no_grad():
            logprobs = tenants.base.model(ids, use_cache=False).logits[0, -1].log_softmax(-1)
        assert token.logprob == pytest.approx(float(logprobs[new[-1]]), abs=1e-4)
        values = logprobs.topk(3).values.tolist()
        assert [value for _, value in token.others] == pytest.approx(values, abs=1e-4)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 4),
        st.integers(1, 14),
        st.sampled_from([0.0, 0.0, 0.9]),
        st.sampled_from([1.0, 1.0, 1.8]),
        st.sampled_from([(), ("a", "2"), ("LL",)]),
        st.integers(0, 3),
        st.sampled_from([None, None, 0, 1, 2]),
    ),
    min_size=1,
    max_size=12,
)


@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=ROWS, places=st.integers(2, 6), step_tokens=st.integers(1, 40))
def test_whoever_comes_and_goes_every_row_is_as_alone(
    rows: Any, places: int, step_tokens: int, tenants: Any, running: Any, joined: Any, sources: Any
) -> None:
    async def one(engine: Any, row: Any) -> tuple[Request, Any]:
        tenant, source, limit, temperature, guidance, stop, wait, cancel_after = row
        request = Request(
            tenants.artifacts[tenant],
            sources[source],
            max_tokens=limit,
            temperature=temperature,
            guidance=guidance,
            stop=stop,
            seed=source,
        )
        await asyncio.sleep(wait * 0.004)
        pieces = []
        async for piece in await engine.submit(request):
            pieces.append(piece)
            if len(pieces) == cancel_after:
                break
        return request, pieces

    async def serve() -> list[Any]:
        async with running(tenants, rows=places, step_tokens=step_tokens) as engine:
            return await asyncio.gather(*(one(engine, row) for row in rows))

    for request, pieces in asyncio.run(serve()):
        text, finish = tenants.alone(request)
        if pieces[-1].finish:
            assert joined(pieces) == (text, finish)
        else:
            assert text.startswith("".join(piece.text for piece in pieces))


def test_a_row_that_never_finds_room_is_refused_and_holds_up_nobody(
    tenants: Any, running: Any, pieces_of: Any, sources: Any
) -> None:
    request = Request(tenants.artifacts[0], sources[0], max_tokens=3)

    async def serve() -> None:
        async with running(tenants, rows=1) as engine:
            with pytest.raises(ConfigError, match=r"serve\.rows"):
                await asyncio.wait_for(pieces_of(engine, replace(request, guidance=2.0)), 10)
            assert (await asyncio.wait_for(pieces_of(engine, request), 10))[-1].finish

    asyncio.run(serve())
