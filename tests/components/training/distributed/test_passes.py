"""Passes in this process: one process starts no worker, and the size of the passes does not change the sums."""

from collections.abc import Callable

import torch

from components.config import BaseConfig, EngineConfig
from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix
from components.training.distributed import open_pass_runner
from components.training.distributed.passes import PassRunner
from components.training.objective import StepDeltas, TrainingExample


def test_one_process_starts_no_worker(base: Base) -> None:
    with open_pass_runner(base, BaseConfig(path="nowhere"), EngineConfig()) as runner:
        assert type(runner) is PassRunner


def test_small_passes_give_the_sums_of_one_pass(base: Base, pairs_of: Callable[..., list[TokenizedPair]]) -> None:
    rows = [TrainingExample(number % 2, pair) for number, pair in enumerate(pairs_of(7, 1))]
    deltas = [Delta(prefix=make_random_prefix(base.shape, length, length)) for length in (2, 3)]
    sums = [
        PassRunner().run_passes(StepDeltas(base, deltas), rows, tokens, train=False, checkpointing=False)
        for tokens in (10_000, 1)
    ]
    torch.testing.assert_close(sums[1].nats_U, sums[0].nats_U, rtol=1e-5, atol=1e-5)
    assert sums[1].count_U.tolist() == sums[0].count_U.tolist()
