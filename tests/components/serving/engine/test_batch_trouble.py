"""Whatever a step raises, the rows whose trouble it is not are answered."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_limit import run_program

from components.config import TrainConfig
from components.errors import BaseModelError
from components.model.base.shapes import INFIX
from components.model.prefix.prefix import Prefix
from components.serving.engine.batch import DecoderBatch
from components.serving.engine.block_pool import BLOCK_COLUMNS
from components.serving.engine.kv_cache import KVCache
from components.serving.interface import BusyError, GenerationRequest


@pytest.fixture
def poisoned(monkeypatch: Any) -> None:
    """The first tenant's prefix, which has one column, is no numbers."""
    put = DecoderBatch._write_branch_slots

    def poison(self: DecoderBatch, reader: Any) -> None:
        if reader.slots_L2HPD is not None and reader.slots_L2HPD.shape[3] == 1:
            reader.slots_L2HPD = torch.full_like(reader.slots_L2HPD, torch.nan)
        put(self, reader)

    monkeypatch.setattr(DecoderBatch, "_write_branch_slots", poison)


def asked_together(running: Any, pieces_of: Any, tenants: Any, requests: list[GenerationRequest]) -> list[Any]:
    """Each request's pieces, or what it failed with."""

    async def serve() -> list[Any]:
        async with running(tenants, rows=8) as engine:
            return await asyncio.gather(*(pieces_of(engine, one) for one in requests), return_exceptions=True)

    return asyncio.run(serve())


@contextmanager
def hooked(model: torch.nn.Module, hook: Any) -> Iterator[None]:
    handle = model.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.usefixtures("poisoned")
def test_one_rows_trouble_is_its_own(tenants: Any, running: Any, pieces_of: Any, joined: Any, sources: Any) -> None:
    bad, *good = [GenerationRequest(artifact, sources[2], max_tokens=8) for artifact in tenants.artifacts]

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


@pytest.mark.usefixtures("poisoned")
def test_a_row_that_leaves_before_its_first_token_leaves_no_trouble_behind(
    tenants: Any, running: Any, pieces_of: Any, joined: Any, sources: Any, monkeypatch: Any
) -> None:
    bad, *good = [GenerationRequest(artifact, sources[3], max_tokens=12) for artifact in tenants.artifacts]
    good[-1] = replace(good[-1], source=sources[1])  # takes the block, and computes as many columns as the others
    step, queued = DecoderBatch.step, threading.Event()

    def leaving(self: DecoderBatch) -> Any:
        outcomes = step(self)
        for row in self.sequences:
            if not outcomes and row.tenant == bad.artifact.tenant:
                queued.wait(30)
                row.stream.cancel()
        return outcomes

    monkeypatch.setattr(DecoderBatch, "step", leaving)

    async def serve() -> list[Any]:
        async with running(tenants, rows=4, step_tokens=16) as engine:
            left = await engine.submit(replace(bad, source="a b c d e f g h " * 3))
            answers = [await engine.submit(one) for one in good]
            queued.set()
            assert [piece async for piece in left] == []
            return [[piece async for piece in answer] for answer in answers]

    for request, pieces in zip(good, asyncio.run(serve()), strict=True):
        assert joined(pieces) == tenants.alone(request)


def test_where_memory_is_short_for_an_infix_its_row_ends_alone(
    build_base: Any,
    tenants_of: Any,
    running: Any,
    pieces_of: Any,
    joined: Any,
    sources: Any,
    random_prefix: Any,
    monkeypatch: Any,
) -> None:
    base = build_base("gpt2")
    infix, *others = [random_prefix(base, length, length) for length in (40, 2, 4)]
    configs = [TrainConfig(method="infix"), TrainConfig(), TrainConfig()]
    tenants = tenants_of(base, [Prefix.from_site(infix.stack_decoder_site(), INFIX), *others], configs)
    requests = [GenerationRequest(artifact, sources[1], max_tokens=8) for artifact in tenants.artifacts]
    put = KVCache.write_slots

    def short(self: KVCache, place: int, slots_L2HPD: torch.Tensor) -> None:
        if slots_L2HPD.shape[3] == infix.length:
            raise MemoryError("out of memory for 2 blocks")
        put(self, place, slots_L2HPD)

    monkeypatch.setattr(KVCache, "write_slots", short)
    found = asked_together(running, pieces_of, tenants, requests)
    assert isinstance(found[0], BusyError)
    for request, pieces in zip(requests[1:], found[1:], strict=True):
        assert joined(pieces) == tenants.alone(request)


def test_a_step_that_fails_for_one_row_alone_fails_it_alone(
    tenants: Any, running: Any, pieces_of: Any, joined: Any, sources: Any
) -> None:
    model = tenants.base.model
    requests = [GenerationRequest(artifact, sources[1], max_tokens=8) for artifact in tenants.artifacts]
    requests[2] = replace(requests[2], source="a,")
    ((comma, _eos),) = tenants.base.text_codec.encode_sources([","])

    def refusing(_model: Any, _args: Any, kwargs: Any) -> None:
        ids = kwargs["input_ids"][0].tolist()
        if (comma, 0) in itertools.pairwise(ids):
            raise RuntimeError("an id that this kernel cannot take")

    expected = [tenants.alone(request) for request in requests]
    with hooked(model, refusing):
        found = asked_together(running, pieces_of, tenants, requests)
    assert isinstance(found[2], BaseModelError)
    assert "cannot take" in str(found[2])
    for place in (0, 1, 3, 4):
        assert joined(found[place]) == expected[place]


def test_a_row_that_an_encoder_cannot_take_fails_alone(
    build_base: Any, tenants_of: Any, running: Any, pieces_of: Any, joined: Any, sources: Any
) -> None:
    tenants = tenants_of(build_base("bart"))
    requests = [GenerationRequest(artifact, sources[1], max_tokens=8) for artifact in tenants.artifacts]
    requests[2] = replace(requests[2], source="x y z")
    (bad,) = tenants.base.text_codec.encode_sources(["x y z"])

    def refusing(_encoder: Any, _args: Any, kwargs: Any) -> None:
        if any(ids[: len(bad)] == bad for ids in kwargs["input_ids"].tolist()):
            raise RuntimeError("an id that this kernel cannot take")

    expected = [tenants.alone(request) for request in requests]
    with hooked(tenants.base.model.get_encoder(), refusing):
        found = asked_together(running, pieces_of, tenants, requests)
    assert isinstance(found[2], BaseModelError)
    assert "cannot take" in str(found[2])
    assert [joined(found[place]) for place in (0, 1, 3, 4)] == [expected[place] for place in (0, 1, 3, 4)]


@pytest.mark.parametrize("asked", [{}, {"temperature": 0.9, "seed": 4}, {"guidance": 1.6}], ids=str)
@pytest.mark.parametrize("kind", ["bart", "gpt2"])
def test_rows_whose_step_is_too_large_together_go_on_in_parts(
    kind: str, asked: Any, build_base: Any, tenants_of: Any, running: Any, pieces_of: Any, joined: Any, sources: Any
) -> None:
    tenants = tenants_of(build_base(kind))
    requests = [
        GenerationRequest(artifact, source, max_tokens=9, **asked)
        for artifact, source in zip(tenants.artifacts, sources, strict=True)
    ]
    expected, refused = [tenants.alone(request) for request in requests], 0

    def refusing(_model: Any, _args: Any, kwargs: Any) -> None:
        nonlocal refused
        cache = kwargs.get("past_key_values")
        whole, late = kwargs.get("input_ids"), cache is not None and cache.get_seq_length() > 1
        if (late and kwargs["decoder_input_ids"].numel() > 1) or (whole is not None and whole.numel() > 20):
            refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = tenants.base.model.register_forward_pre_hook(refusing, with_kwargs=True)

    async def serve() -> list[Any]:
        async with running(tenants, rows=10) as engine:
            return await asyncio.gather(*(pieces_of(engine, one) for one in requests))

    try:
        found = asyncio.run(serve())
    finally:
        handle.remove()
    assert refused
    assert [joined(pieces) for pieces in found] == expected


SHORT = range(20, 51)


@pytest.fixture(scope="module")
def limited() -> list[dict[str, Any]]:
    """The results of long and short rows in 12 MiB, and of one long row with many short ones; one process for both."""
    cases = [(12, 1500, 1400, 1300, 60, 50, 40), (1000, 900, *SHORT)]
    program = Path(__file__).with_name("limited_serving.py")
    results: list[dict[str, Any]] = run_program(program, *(",".join(map(str, case)) for case in cases))
    return results


@pytest.mark.slow
def test_where_memory_is_short_rows_that_hold_much_end_and_the_others_are_answered(limited: Any) -> None:
    rows = dict(limited[0]["rows"])
    long = [rows.pop(name) for name in ("1500", "1400", "1300")]
    assert rows == dict.fromkeys(["60", "50", "40"], True)
    errors = [one for one in long if one is not True]
    assert errors
    assert all("memory for one more row" in one for one in errors)


@pytest.mark.slow
def test_a_long_row_beside_short_ones_takes_memory_for_itself_alone(limited: Any) -> None:
    assert limited[1]["rows"] == dict.fromkeys(["900", *map(str, SHORT)], True)
    needed = sum(-(-(length + 4) // BLOCK_COLUMNS) for length in (900, *SHORT))
    assert limited[1]["blocks"] <= 1.25 * needed
