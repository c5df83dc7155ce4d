"""Rows in company write what they write alone."""

import asyncio
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from components.config import Method, TrainConfig
from components.model.base.load import Base
from components.model.delta import Delta, make_delta_from_tensors
from components.model.trainable_delta import TrainableDelta
from components.serving.interface import GenerationRequest

PAIRS = (("ab", "it is a"), ("cd", "it is c"))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt", "gpt_neox", "bart", "t5"])
def test_greedy_rows_of_many_tenants_are_their_solo_outputs(
    kind: str, build_base: Any, tenants_of: Any, running: Any, pieces_of: Any, joined: Any, sources: tuple[str, ...]
) -> None:
    tenants = tenants_of(build_base(kind))
    requests = [
        GenerationRequest(artifact, source, max_tokens=4 + 3 * number)
        for number, source in enumerate(sources)
        for artifact in tenants.artifacts
    ]

    async def serve() -> list[Any]:
        async with running(tenants, rows=7, step_tokens=24) as engine:
            return await asyncio.gather(*(pieces_of(engine, request) for request in requests))

    answers = asyncio.run(serve())
    for request, pieces in zip(requests, answers, strict=True):
        assert joined(pieces) == tenants.alone(request)


@pytest.mark.parametrize("kind", ["gpt2", "bart"])
@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 0.8, "seed": 3},
        {"temperature": 1.3, "top_p": 0.7, "seed": 5, "sample_index": 2},
        {"guidance": 2.5},
        {"guidance": 0.0},
        {"guidance": 0.4, "temperature": 0.5},
        {"stop": ("ob2", "oo2", "L", "11")},
    ],
    ids=str,
)
def test_a_row_has_its_own_settings(
    asked: dict[str, Any],
    kind: str,
    build_base: Any,
    tenants_of: Any,
    running: Any,
    pieces_of: Any,
    joined: Any,
    sources: tuple[str, ...],
) -> None:
    tenants = tenants_of(build_base(kind))
    plain = [
        GenerationRequest(artifact, source, max_tokens=12)
        for artifact, source in zip(tenants.artifacts, sources, strict=True)
    ]
    requests = [request for one in plain for request in (one, replace(one, **asked))]

    async def serve() -> list[Any]:
        async with running(tenants, rows=9, step_tokens=20) as engine:
            return await asyncio.gather(*(pieces_of(engine, request) for request in requests))

    texts = [joined(pieces) for pieces in asyncio.run(serve())]
    assert texts == [tenants.alone(request) for request in requests]
    assert texts[::2] != texts[1::2]


def _noisy(base: Base, config: TrainConfig) -> Delta:
    """A delta of a method with noise on what training starts from, much of which does nothing."""
    tensors = TrainableDelta(base, config, "a b c", None, PAIRS).collapse().tensors
    if config.method == "in-context":
        return make_delta_from_tensors(config.method, tensors, config)
    torch.manual_seed(len(config.method))
    noisy = {name: tensor + 0.2 * torch.randn_like(tensor) for name, tensor in tensors.items()}
    return make_delta_from_tensors(config.method, noisy, config)


def test_tenants_of_all_methods_share_the_engine(
    build_base: Any, tenants_of: Any, running: Any, pieces_of: Any, joined: Any, sources: tuple[str, ...]
) -> None:
    base = build_base("gpt2")
    configs = [
        TrainConfig.model_validate(
            {"method": method, "prefix_length": 3, "adapter_size": 2, "lora_rank": 2, "top_layers": 1}
        )
        for method in get_args(Method)
    ]
    tenants = tenants_of(base, [_noisy(base, config) for config in configs], configs)
    requests = [
        GenerationRequest(artifact, source, max_tokens=6, guidance=guidance)
        for artifact in tenants.artifacts
        for source, guidance in zip(sources[:3], (1.0, 1.7, 1.0), strict=True)
    ]

    async def serve() -> list[Any]:
        async with running(tenants, rows=12, step_tokens=40) as engine:
            return await asyncio.gather(*(pieces_of(engine, request) for request in requests))

    outputs = [joined(pieces) for pieces in asyncio.run(serve())]
    for request, output, config in zip(requests, outputs, [one for one in configs for _ in range(3)], strict=True):
        assert output == tenants.alone(request), config.method


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
    async def one(engine: Any, row: Any) -> tuple[GenerationRequest, Any]:
        tenant, source, limit, temperature, guidance, stop, wait, cancel_after = row
        request = GenerationRequest(
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

    async def serve() -> Any:
        async with running(tenants, rows=places, step_tokens=step_tokens) as engine:
            return await asyncio.gather(*(one(engine, row) for row in rows))

    for request, pieces in asyncio.run(serve()):
        text, finish = tenants.alone(request)
        if pieces[-1].finish:
            assert joined(pieces) == (text, finish)
        else:
            assert text.startswith("".join(piece.text for piece in pieces))
