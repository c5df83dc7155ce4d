"""Tiny bases, each once on the CPU and once on the device under test: the GPU, or what PREFIXFLEET_TEST_DEVICE names.

`benchmarks/gpu_check.sh` runs these tests alone, on machines without the packages that the other tests need.
"""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import architectures
import tiny_models

from components.data.pairs import TokenizedPair
from components.model.base.load import Base

LARGEST_ID = architectures.VOCABULARY - 1


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device under test; skips the test if there is none."""
    name = os.environ.get("PREFIXFLEET_TEST_DEVICE", "cuda:0")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device; PREFIXFLEET_TEST_DEVICE=cpu runs these tests on the CPU")
    return torch.device(name)


@pytest.fixture(scope="session")
def gpu(device: torch.device) -> torch.device:
    """The device under test, for tests of what only a GPU has."""
    if device.type != "cuda":
        pytest.skip("no CUDA device: the memory of a GPU cannot be limited")
    return device


@pytest.fixture(scope="session")
def bases(device: torch.device) -> Callable[..., tuple[Base, Base]]:
    """A function of an architecture and sizes to the same random base on the CPU and on the device under test."""
    letters = tiny_models.make_letters()
    made: dict[tuple[Any, ...], tuple[Base, Base]] = {}

    def make(kind: str, dtype: torch.dtype = torch.float32, **sizes: Any) -> tuple[Base, Base]:
        key = (kind, dtype, *sizes.items())
        if key not in made:
            models = [tiny_models.give_own_head(tiny_models.build_model(kind, **sizes)) for _ in range(2)]
            models[1].to(device, dtype)
            context = sizes.get("n_positions", tiny_models.CONTEXT)
            made[key] = tuple(tiny_models.make_base(model, letters, context) for model in models)
        return made[key]

    return make


@pytest.fixture(scope="session")
def pairs_of() -> Callable[..., list[TokenizedPair]]:
    """A function of a count, a seed and a longest length to random pairs whose lengths differ."""

    def make(count: int, seed: int = 0, longest: int = 14) -> list[TokenizedPair]:
        shuffler = random.Random(seed)

        def draw_ids() -> tuple[int, ...]:
            return (*(shuffler.randint(2, LARGEST_ID) for _ in range(shuffler.randrange(1, longest))), tiny_models.EOS)

        return [TokenizedPair(draw_ids(), draw_ids()) for _ in range(count)]

    return make
