"""Bases whose rows end at different steps, and decoding as plainly as it can be written."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from components.model.base.load import Base
from components.model.delta import Delta, apply_deltas
from components.model.prefix.prefix import Prefix

EOS = 0
Row = Delta | Prefix | None


def _sources(number: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 15, (number,), generator=generator).tolist()
    return [[*torch.randint(2, 67, (length,), generator=generator).tolist(), EOS] for length in lengths]


@torch.no_grad()
def _next_logits(base: Base, row: Row, source: Sequence[int], new: Sequence[int]) -> torch.Tensor:
    """Logits [V] after one source and what was written so far, by one forward without a cache and without padding."""
    ids: dict[str, Any] = {"input_ids": torch.tensor([[*source, *new]])}
    if base.is_encoder_decoder:
        start = [base.decoder_start_id, *new]
        ids = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([start])}
    with apply_deltas(base, [row], torch.tensor([len(source) - 1])):
        found: torch.Tensor = base.model(**ids, use_cache=False).logits[0, -1]
    return found


@pytest.fixture(scope="session")
def some_sources() -> Callable[..., list[list[int]]]:
    """A function of number and seed to sources of 2 to 15 tokens with their end."""
    return _sources


@pytest.fixture(scope="session")
def next_logits() -> Callable[..., torch.Tensor]:
    return _next_logits


@pytest.fixture(scope="session")
def greedy() -> Callable[..., list[int]]:
    """A function of base, row, source and length to the likeliest tokens, one forward of everything for each."""

    def run(base: Base, row: Row, source: Sequence[int], length: int, logits: Callable[..., Any] | None = None) -> Any:
        new: list[int] = []
        for _ in range(length):
            token = int((logits or _next_logits)(base, row, source, new).argmax())
            if token == EOS:
                break
            new.append(token)
        return new

    return run
