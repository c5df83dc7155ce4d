"""Small trainings of every method on a decoder-only and an encoder-decoder base, for tests."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from components.config import TrainConfig
from components.data.schema import Example
from components.model.base.load import Base
from components.training.prepare import fit
from components.training.run import TrainResult

_SLOTS = {"prefix_length": 3, "learning_rate": 0.1}
METHODS: dict[str, dict[str, Any]] = {
    "prefix": _SLOTS,
    "infix": _SLOTS,
    "embedding": _SLOTS,
    "full": {"learning_rate": 0.01},
    "top-k": {"learning_rate": 0.01, "top_layers": 1},
    "adapter": {"learning_rate": 0.05, "adapter_size": 4},
    "lora": {"learning_rate": 0.05, "lora_rank": 2},
    "in-context": {"demonstrations": 2},
    "prefix+adapter": {**_SLOTS, "adapter_size": 4},
    "prefix+lora": {**_SLOTS, "lora_rank": 2},
}
_DECODER_ONLY = ("infix", "embedding")
CASES = [
    pytest.param(kind, method, mlp, id=f"{kind}-{method}{f'-mlp{mlp}' if mlp else ''}")
    for kind in ("gpt2", "bart")
    for method in METHODS
    for mlp in ((0, 16) if METHODS[method].get("prefix_length") else (0,))
    if kind == "gpt2" or method not in _DECODER_ONLY
]
"""Architecture, method and `mlp_hidden`."""
TRAINED_CASES = [case for case in CASES if case.values[1] != "in-context"]


def make_examples(count: int, seed: int) -> list[Example]:
    """Return letters, each answered by the same words and its first letter; every third has a second reference."""
    shuffler = random.Random(seed)
    made = []
    for number in range(count):
        source = "".join(shuffler.choices("abcdefgh", k=shuffler.randrange(2, 7)))
        answers = [f"it is {source[0]}", f"so {source[0]}"][: 2 if number % 3 == 0 else 1]
        made.append(Example(source, tuple(answers)))
    return made


TRAIN, VALIDATION = make_examples(16, 1), make_examples(6, 2)


def make_config(method: str, mlp_hidden: int = 0, **values: Any) -> TrainConfig:
    """Return a short training of a method: 8 steps, validated at every second one."""
    steps = {"max_steps": 8, "warmup_steps": 2, "batch_size": 4, "validate_every": 2}
    return TrainConfig(**{"method": method, "mlp_hidden": mlp_hidden, **steps, **METHODS[method], **values})


def train(base: Base, config: TrainConfig, **values: Any) -> TrainResult:
    return fit(base, config, TRAIN, VALIDATION, **values)


def are_same(first: TrainResult, second: TrainResult) -> bool:
    """Return whether two results are equal bit by bit, apart from times and how they started."""
    facts = [(one.steps, one.best_step, one.train_loss, one.validation_loss, one.curve) for one in (first, second)]
    ours, theirs = first.delta.tensors, second.delta.tensors
    return facts[0] == facts[1] and ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def stop_at(step: int) -> Callable[[], bool]:
    """Return a `stop` that ends a run that started clean after this number of steps."""
    calls: list[int] = []
    return lambda: calls.append(1) or len(calls) > step  # type: ignore[func-returns-value]
