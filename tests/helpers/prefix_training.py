"""Trainings of a prefix from a chosen start, for tests of the loop, of runs and of checkpoints."""

from typing import Any

import torch

from components.config import TrainConfig
from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.model.trainable_delta import TrainableDelta
from components.training.loop import train_alone
from components.training.run import TrainingJob, TrainResult


def make_config(**values: Any) -> TrainConfig:
    """Return 20 steps of a prefix of 4, validated at every sixth step."""
    return TrainConfig(
        **{"prefix_length": 4, "initialization": "random", "max_steps": 20, "warmup_steps": 3, "batch_size": 4}
        | {"validate_every": 6}
        | values
    )


def train_delta(
    base: Base, train: list[TokenizedPair], validation: list[TokenizedPair], config: TrainConfig, **values: Any
) -> TrainResult:
    return train_alone(base, TrainingJob(config, train=train, validation=validation, **values))


def load_module(base: Base, config: TrainConfig, start: Prefix) -> TrainableDelta:
    module = TrainableDelta(base, config, "", None, ())
    module.load(Delta(prefix=start))
    return module


def are_same(first: TrainResult, second: TrainResult) -> bool:
    """Return whether two results are equal bit by bit, apart from times and how they started."""
    facts = [
        (result.steps, result.best_step, result.train_loss, result.validation_loss, result.curve)
        for result in (first, second)
    ]
    return facts[0] == facts[1] and torch.equal(
        first.delta.prefix.stack_decoder_site(), second.delta.prefix.stack_decoder_site()
    )
