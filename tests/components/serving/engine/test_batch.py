"""Rows in company write what they write alone."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from components.serving.requests import Request


@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt", "gpt_neox"])
def test_greedy_rows_of_many_tenants_are_their_solo_outputs(
    kind: str, build_base: Any, tenants_of: Any, running: Any, pieces_of: Any, joined: Any, sources: tuple[str, ...]
) -> None:
    tenants = tenants_of(build_base(kind))
    requests = [
        Request(artifact, source, max_tokens=4 + 3 * number)
        for number, source in enumerate(sources)
        for artifact in tenants.artifacts
    ]

    async def serve() -> list[Any]:
        async with running(tenants, rows=7, step_tokens=24) as engine:
            return await asyncio.gather(*(pieces_of(engine, request) for request in requests))

    answers = asyncio.run(serve())
    for request, pieces in zip(requests, answers, strict=True):
        assert joined(pieces) == tenants.alone(request)


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 0.8, "seed": 3},
        {"temperature": 1.3, "top_p": 0.7, "seed": 5, "draw": 2},
        {"guidance": 2.5},
        {"guidance": 0.0},
        {"guidance": 0.4, "temperature": 0.5},
        {"stop": ("a", "b", "ee")},
    ],
    ids=str,
)
def test_a_row_has_its_own_settings(
    asked: dict[str, Any],
    build_base: Any,
    tenants_of: Any,
    running: Any,
    pieces_of: Any,
    joined: Any,
    sources: tuple[str, ...],
) -> None:
    tenants = tenants_of(build_base("gpt2"))
    plain = [
        Request(artifact, source, max_tokens=12) for artifact, source in zip(tenants.artifacts, sources, strict=True)
    ]
    requests = [request for one in plain for request in (one, replace(one, **asked))]

    async def serve() -> list[Any]:
        async with running(tenants, rows=9, step_tokens=20) as engine:
            return await asyncio.gather(*(pieces_of(engine, request) for request in requests))

    texts = [joined(pieces) for pieces in asyncio.run(serve())]
    assert texts == [tenants.alone(request) for request in requests]
    assert texts[::2] != texts[1::2]
