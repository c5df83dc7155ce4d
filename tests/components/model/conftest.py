"""Tiny random models (a GPT-2, and a Llama whose query heads share key/value heads), and prefixes for them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from components.model.base.attention_sites import find_prefix_shape
from components.model.base.load import Base
from components.model.prefix.initialization import make_random_prefix
from components.model.prefix.prefix import Prefix

KINDS = ("gpt2", "llama")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, build_model: Callable[..., Any]) -> Any:
    return build_model(request.param)


@pytest.fixture(scope="session")
def values_for() -> Callable[..., Prefix]:
    """A function from a model, length and seed to a prefix of standard normal values for every site."""

    def make(model: Any, length: int, seed: int = 0) -> Prefix:
        return make_random_prefix(find_prefix_shape(model), length, 100 + seed, scale=1.0)

    return make


@pytest.fixture
def prefix_for(model: Any, values_for: Callable[..., Prefix]) -> Callable[..., Prefix]:
    """A function from a length and a seed to a prefix for `model`."""
    return lambda length, seed=0: values_for(model, length, seed)


@pytest.fixture
def base(model: Any, base_of: Callable[..., Base]) -> Base:
    return base_of(model)
