"""Decoding on the device: the tokens that the CPU gives, in float32; in bfloat16 the first token's probabilities."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.base.shapes import INFIX
from components.model.decoding import Decoding, generate_each
from components.model.decoding.decoder_run import DecoderOnlyRun
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.prefix import Prefix

pytestmark = pytest.mark.gpu
Bases = Callable[..., tuple[Base, Base]]
PairsOf = Callable[..., list[TokenizedPair]]
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "guidance": {"num_beams": 2, "guidance": 1.5},
    "controls": {"num_beams": 2, "no_repeat_ngram": 2, "repetition_penalty": 1.2, "min_new_tokens": 3},
    "sampling": {"temperature": 0.8, "top_p": 0.9, "seed": 5},
}


def make_prefixes(base: Base, count: int) -> Sequence[Prefix | None]:
    """Return prefixes of different lengths, and none for every fourth row."""
    return [
        None if number % 4 == 3 else make_random_prefix(base.shape, 1 + number % 3, number % 5, 0.5)
        for number in range(count)
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart"])
def test_the_tokens_are_those_of_the_cpu(bases: Bases, pairs_of: PairsOf, kind: str, way: str) -> None:
    sources = [pair.source_ids for pair in pairs_of(14)]
    decoding = Decoding(max_new_tokens=12, **WAYS[way])
    on_cpu, on_device = (
        generate_each(base, make_prefixes(base, len(sources)), sources, decoding, 5) for base in bases(kind)
    )
    assert on_device == on_cpu
    assert len({tuple(ids) for ids in on_cpu}) > 1


def test_infixes_give_the_tokens_of_the_cpu(bases: Bases, pairs_of: PairsOf) -> None:
    sources = [pair.source_ids for pair in pairs_of(9)]
    results = []
    for base in bases("gpt2"):
        own = make_random_prefix(base.shape, 2, 0, 0.5)
        infix = Prefix.from_site(own.stack_decoder_site(), INFIX)
        results.append(generate_each(base, [infix] * len(sources), sources, Decoding(num_beams=2), 4))
    assert results[1] == results[0]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_first_token_in_bfloat16_is_near_to_float32(bases: Bases, pairs_of: PairsOf, kind: str) -> None:
    sources = [pair.source_ids for pair in pairs_of(9)]
    (exact, _), (_, half) = bases(kind), bases(kind, torch.bfloat16)
    chances = []
    for base in (exact, half):
        prefixes = [prefix.to(base.model.dtype, base.device) if prefix else None for prefix in make_prefixes(base, 9)]
        with torch.inference_mode():
            chances.append(DecoderOnlyRun(base, prefixes, sources, 1).logits_BV.float().cpu().softmax(dim=-1))
    assert float((chances[0] - chances[1]).abs().sum(dim=-1).max()) < 0.1
