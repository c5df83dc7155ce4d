"""If a step fails, only the rows that cause the error end; the others are answered."""

import asyncio
import itertools
import threading
from dataclasses import replace
from typing import Any

import pytest
import torch

from components.errors import BaseModelError
from components.serving.engine.batch import DecoderBatch
from components.serving.interface import GenerationRequest


@pytest.fixture
def nan_prefix(monkeypatch: Any) -> None:
    """The first tenant's prefix, the one of length 1, is NaN."""
    write = DecoderBatch._write_branch_slots

    def write_nan(self: DecoderBatch, branch: Any) -> None:
        if branch.slots_L2HPD is not None and branch.slots_L2HPD.shape[3] == 1:
            branch.slots_L2HPD = torch.full_like(branch.slots_L2HPD, torch.nan)
        write(self, branch)

    monkeypatch.setattr(DecoderBatch, "_write_branch_slots", write_nan)


@pytest.mark.usefixtures("nan_prefix")
def test_a_row_with_nan_fails_alone_and_leaves_no_nan_in_its_blocks(
    tenants: Any, answer_all: Any, sources: Any
) -> None:
    requests = [GenerationRequest(artifact, sources[2], max_tokens=8) for artifact in tenants.artifacts]
    expected = [tenants.answer_alone(request) for request in requests[1:]]
    answers = answer_all(tenants, requests * 2, rows=5)  # the second half uses the blocks of the first
    for bad, *good in (answers[:5], answers[5:]):
        assert isinstance(bad, BaseModelError)
        assert good == expected


@pytest.mark.usefixtures("nan_prefix")
def test_a_row_that_is_cancelled_before_its_first_token_leaves_no_nan_in_its_blocks(
    tenants: Any, running: Any, collect_pieces: Any, join_pieces: Any, sources: Any, monkeypatch: Any
) -> None:
    bad, *good = [GenerationRequest(artifact, sources[3], max_tokens=12) for artifact in tenants.artifacts]
    good[-1] = replace(good[-1], source=sources[1])  # gets the freed block, and reads as many columns as the others
    step, all_queued = DecoderBatch.step, threading.Event()

    def cancel_bad(self: DecoderBatch) -> Any:
        results = step(self)
        for sequence in self.sequences:
            if not results and sequence.tenant == bad.artifact.tenant:
                all_queued.wait(60)
                sequence.stream.cancel()
        return results

    monkeypatch.setattr(DecoderBatch, "step", cancel_bad)

    async def serve() -> list[Any]:
        async with running(tenants, rows=4, step_tokens=16) as engine:
            cancelled = (await engine.submit([replace(bad, source="a b c d e f g h " * 3)]))[0]
            streams = [(await engine.submit([one]))[0] for one in good]
            all_queued.set()
            assert [piece async for piece in cancelled] == []
            return [[piece async for piece in stream] for stream in streams]

    for request, pieces in zip(good, asyncio.run(serve()), strict=True):
        assert join_pieces(pieces) == tenants.answer_alone(request)


def test_a_step_that_fails_because_of_one_row_fails_it_alone(
    tenants: Any, check_third_fails_alone: Any, sources: Any
) -> None:
    requests = [GenerationRequest(artifact, sources[1], max_tokens=8) for artifact in tenants.artifacts]
    requests[2] = replace(requests[2], source="a,")
    ((comma, _eos),) = tenants.base.text_codec.encode_sources([","])

    def refuse_comma(_model: Any, _args: Any, kwargs: Any) -> None:
        if (comma, 0) in itertools.pairwise(kwargs["input_ids"][0].tolist()):
            raise RuntimeError("an id that this kernel cannot take")

    check_third_fails_alone(tenants.base.model, refuse_comma, requests)
