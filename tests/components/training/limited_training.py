"""A program: train tenants under a memory limit, then without it, and print each tenant's outcome.

`python limited_training.py KIND,FREE_MIB,LENGTH,LENGTH...` trains one tenant for each length of targets; KIND is a kind
of `limit_memory`. An outcome is the error, or the relative difference of the two prefixes and the best step. Prints
the messages logged under the limit, too.
"""

import sys
from typing import Any

from memory_limit import limit_memory, make_base, print_result

from components.config import EngineConfig, TrainConfig
from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.trainable_delta import TrainableDelta
from components.training.loop import train_together
from components.training.run import TrainingJob, TrainResult

ENGINE = EngineConfig(train_tokens=1_000_000)


def make_job(base: Base, length: int) -> TrainingJob:
    short = {"prefix_length": 2, "max_steps": 2, "warmup_steps": 1, "batch_size": 12, "validate_every": 1}
    config = TrainConfig(**{**short, "initialization": "random", "learning_rate": 0.05})
    pairs = [
        TokenizedPair((7, 8, 9, 0), (*((7 * number + place) % 60 + 2 for place in range(length)), 0))
        for number in range(12)
    ]
    return TrainingJob(config, TrainableDelta(base, config, "", None, ()), pairs, pairs[:3], tenant=str(length))


def train(base: Base, lengths: list[int]) -> dict[str, Any]:
    jobs = [make_job(base, length) for length in lengths]
    return {ended.job.tenant: ended.result for ended in train_together(base, jobs, ENGINE)}


def train_limited(base: Base, kind: str, free_mib: str, *lengths: str) -> dict[str, Any]:
    with limit_memory(int(free_mib), kind) as messages:
        limited = train(base, list(map(int, lengths)))
    free = train(base, [int(tenant) for tenant, result in limited.items() if isinstance(result, TrainResult)])
    outcomes = {}
    for tenant, result in limited.items():
        if isinstance(result, TrainResult):
            one, other = (each.delta.prefix.stack_decoder_site() for each in (result, free[tenant]))
            outcomes[tenant] = [float((one - other).norm() / other.norm()), result.best_step]
        else:
            outcomes[tenant] = str(result)
    return {"outcomes": outcomes, "log": messages}


def main(*cases: str) -> None:
    base = make_base()
    train(base, [5])  # what the first training allocates for good does not count
    print_result([train_limited(base, *case.split(",")) for case in cases])


if __name__ == "__main__":
    main(*sys.argv[1:])
