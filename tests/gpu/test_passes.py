"""One pass on the device against the same pass on the CPU: losses and gradients, packed and padded."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from passes import LENGTHS, compare, run_pass
from torch import Tensor

from components.data.pairs import TokenizedPair
from components.model.base.attention_scores import ScoreRule
from components.model.base.load import Base
from components.model.packing.attention import attend_packed_fused, attend_packed_with_sdpa
from components.model.packing.layout import PackedLayout
from components.training import objective

pytestmark = pytest.mark.gpu
Bases = Callable[..., tuple[Base, Base]]
PairsOf = Callable[..., list[TokenizedPair]]


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("infix", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_pass_of_a_decoder_only_base(
    bases: Bases, pairs_of: PairsOf, monkeypatch: pytest.MonkeyPatch, kind: str, infix: bool, layout: str
) -> None:
    monkeypatch.setattr(objective, "is_packable", lambda _model: layout == "packed")
    on_cpu, on_device = (run_pass(base, pairs_of(9), infix=infix) for base in bases(kind))
    assert compare(on_device[0], on_cpu[0]) < 1e-5
    assert compare(on_device[1], on_cpu[1]) < 1e-4


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_a_pass_of_an_encoder_decoder_base(bases: Bases, pairs_of: PairsOf, kind: str) -> None:
    on_cpu, on_device = (run_pass(base, pairs_of(9)) for base in bases(kind))
    assert compare(on_device[0], on_cpu[0]) < 1e-5
    assert compare(on_device[1], on_cpu[1]) < 1e-4


@pytest.mark.parametrize("layout", ["packed", "padded"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_pass_in_bfloat16_is_near_to_float32(
    bases: Bases, pairs_of: PairsOf, monkeypatch: pytest.MonkeyPatch, kind: str, layout: str
) -> None:
    monkeypatch.setattr(objective, "is_packable", lambda _model: layout == "packed")
    pairs = pairs_of(9)
    exact, _ = bases(kind)
    _, half = bases(kind, torch.bfloat16)
    on_cpu, on_device = run_pass(exact, pairs), run_pass(half, pairs)
    assert compare(on_device[0], on_cpu[0]) < 0.02
    assert compare(on_device[1], on_cpu[1]) < 0.1


def test_two_passes_have_the_same_gradients_bit_by_bit(bases: Bases, pairs_of: PairsOf) -> None:
    _, base = bases("gpt2")
    first, second = (run_pass(base, pairs_of(40)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("attend", [attend_packed_fused, attend_packed_with_sdpa])
def test_both_attentions_give_what_they_give_on_the_cpu(device: torch.device, attend: Callable[..., Tensor]) -> None:
    lengths, owners = [5, 30, 17, 1], [0, 2, 0, 1]
    generator = torch.Generator().manual_seed(0)
    slots = sum(LENGTHS)
    shapes = [(sum(lengths), 4), (sum(lengths), 2), (sum(lengths), 2), (slots, 2), (slots, 2), (sum(lengths), 4)]
    tensors = [torch.randn(*shape, 16, generator=generator) for shape in shapes]

    def run(on: torch.device) -> list[Tensor]:
        layout = PackedLayout.from_lengths(lengths, owners, LENGTHS, device=on)
        inputs: list[Any] = [one.to(on).requires_grad_() for one in tensors[:5]]
        output = attend(*inputs[:3], tuple(inputs[3:]), layout, ScoreRule(0.25))
        return [output, *torch.autograd.grad(output, inputs, tensors[5].to(on))]

    for found, wanted in zip(run(device), run(torch.device("cpu")), strict=True):
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-5)
