"""Requests are read when they are needed, with deltas of several kinds, and rows of NaN do not affect others."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from components.model.base.load import Base
from components.model.decoding import DecodeRequest, Decoding, decode, generate_each
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.model.weights import WeightsConfig, make_trainable_weights


@pytest.fixture(scope="module", params=("gpt2", "llama", "bart"))
def base(request: pytest.FixtureRequest, build_base: Callable[..., Base]) -> Base:
    return build_base(request.param, 3)


def weighted(base: Base, seed: int) -> Delta:
    trained = make_trainable_weights(base.model, WeightsConfig(kind="lora", lora_rank=2, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return Delta(weights=trained.collapse())


def requests_of(deltas: list[Delta], sources: list[list[int]], limit: int) -> list[DecodeRequest]:
    rows = enumerate(zip(deltas, sources, strict=True))
    return [DecodeRequest(delta, ids, ids, limit, number) for number, (delta, ids) in rows]


@pytest.mark.parametrize("beams", [1, 3])
def test_requests_are_read_when_needed_and_while_no_weights_are_applied(
    base: Base, beams: int, some_sources: Any, values_for: Any
) -> None:
    plain, sources = Delta(prefix=values_for(base.model, 3)), some_sources(40, 1)
    deltas = [plain] * 20 + [weighted(base, 1)] * 12 + [Delta()] * 2 + [weighted(base, 2)] * 6
    ids: dict[str, Any] = {"input_ids": torch.tensor([[5, 6, 7]])}
    if base.is_encoder_decoder:
        ids["decoder_input_ids"] = ids["input_ids"]
    bare, count = base.model(**ids).logits, 0

    def requests() -> Iterator[DecodeRequest]:
        nonlocal count
        for request in requests_of(deltas, sources, 6):
            count += 1
            assert torch.equal(base.model(**ids).logits, bare)
            yield request

    decoding, outputs = Decoding(beams, 6), {}
    for done, (request, new_ids) in enumerate(decode(base, requests(), decoding, 2), 1):
        assert count <= done + 8 + 2 + 1, "a window, the rows of the batch, and the first with another batch key"
        outputs[request.number] = new_ids
    assert [outputs[row] for row in range(40)] == generate_each(base, deltas, sources, decoding, 7)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_row_of_nan_does_not_change_other_rows(base: Base, beams: int, some_sources: Any, values_for: Any) -> None:
    good, sources = Delta(prefix=values_for(base.model, 3)), some_sources(12, 2)
    broken = Delta(
        prefix=Prefix({name: tensor * torch.nan for name, tensor in values_for(base.model, 4).tensors.items()})
    )
    decoding = Decoding(beams, 8)
    deltas = [broken if row % 3 == 1 else good for row in range(12)]
    outputs = {request.number: ids for request, ids in decode(base, requests_of(deltas, sources, 8), decoding, 4)}
    alone = generate_each(base, [good] * 12, sources, decoding, 1)
    assert [outputs[row] for row in range(12) if row % 3 != 1] == [alone[row] for row in range(12) if row % 3 != 1]
    assert len(outputs) == 12
