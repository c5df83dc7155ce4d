"""A tiny random base that copies nothing and knows nothing, and pairs to train it on."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from components.data.tokens import Encoded
from components.model.base import Base


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def base(build_model: Callable[..., Any], base_of: Callable[[Any], Base]) -> Base:
    return base_of(build_model("gpt2"))


def make_pairs(count: int, seed: int) -> list[Encoded]:
    """Random sources, each answered by the same short sentence with one token of the source in it."""
    shuffler = random.Random(seed)
    pairs = []
    for _ in range(count):
        source = [shuffler.randrange(2, 67) for _ in range(shuffler.randrange(3, 9))]
        pairs.append(Encoded((*source, 0), (11, 12, source[0], 13, 14, 0)))
    return pairs


@pytest.fixture
def train() -> list[Encoded]:
    return make_pairs(30, 1)


@pytest.fixture
def validation() -> list[Encoded]:
    return make_pairs(10, 2)
