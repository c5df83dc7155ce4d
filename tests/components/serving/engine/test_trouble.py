"""Whatever a step raises, the rows whose trouble it is not are answered."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import torch

from components.errors import BaseModelError
from components.serving.engine.batch import Batch
from components.serving.requests import Request


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
