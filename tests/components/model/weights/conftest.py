"""One model per architecture, shared by all tests, which must not change it; and every method."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from components.model.weights import WeightsConfig

VOCABULARY = 67
KINDS = ("gpt2", "llama", "opt", "gpt_neox", "bart", "t5", "marian")
METHODS = {
    "full": WeightsConfig(kind="full"),
    "top-k": WeightsConfig(kind="top-k", top_layers=1),
    "adapter": WeightsConfig(kind="adapter", adapter_size=4),
    "lora": WeightsConfig(kind="lora", lora_rank=3),
}


@pytest.fixture(scope="session", params=KINDS)
def model(request: pytest.FixtureRequest, build_model: Callable[..., Any]) -> Any:
    return build_model(request.param)


@pytest.fixture(params=METHODS)
def config(request: pytest.FixtureRequest) -> WeightsConfig:
    return METHODS[request.param]


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Two rows, used as source and as target."""
    ids = torch.randint(2, VOCABULARY, (2, 6), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "labels": ids}


@pytest.fixture
def logits(batch: dict[str, Tensor]) -> Callable[[Any], Tensor]:
    """A function from a model to its logits of the batch."""

    def compute(model: Any) -> Tensor:
        with torch.no_grad():
            output: Tensor = model(**batch).logits
        return output

    return compute


@pytest.fixture
def train(batch: dict[str, Tensor]) -> Callable[..., list[float]]:
    """A function from a model, trainable weights and a number of steps to the losses before each step."""

    def run(model: Any, trainable: Any, steps: int = 2) -> list[float]:
        optimizer = torch.optim.AdamW(trainable.parameters(), lr=1e-2)
        losses = []
        for _ in range(steps):
            with trainable.get_weights().apply(model):
                loss = model(**batch).loss
                loss.backward()
            losses.append(float(loss.detach()))
            optimizer.step()
            optimizer.zero_grad()
        return losses

    return run
