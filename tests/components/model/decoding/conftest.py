"""Random sources, and greedy decoding as plain Python: one forward of all tokens per new token, without a cache."""

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
    """Logits [V] after one source and the new tokens so far, by one forward without cache and padding."""
    ids: dict[str, Any] = {"input_ids": torch.tensor([[*source, *new]])}
    if base.is_encoder_decoder:
        start = [base.decoder_start_id, *new]
        ids = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([start])}
    with apply_deltas(base, [row], torch.tensor([len(source) - 1])):
        logits: torch.Tensor = base.model(**ids, use_cache=False).logits[0, -1]
    return logits


@pytest.fixture(scope="session")
def some_sources() -> Callable[..., list[list[int]]]:
    """A function from a number and a seed to that many sources of 2 to 15 tokens, each with its end token."""
    return _sources


@pytest.fixture(scope="session")
def next_logits() -> Callable[..., torch.Tensor]:
    """See `_next_logits`."""
    return _next_logits


@pytest.fixture(scope="session")
def greedy() -> Callable[..., list[int]]:
    """A function from a base, row, source and length to the likeliest tokens, by one forward of all tokens for each."""

    def run(base: Base, row: Row, source: Sequence[int], length: int, logits: Callable[..., Any] | None = None) -> Any:
        new: list[int] = []
        for _ in range(length):
            token = int((logits or _next_logits)(base, row, source, new).argmax())
            if token == EOS:
                break
            new.append(token)
        return new

    return run
