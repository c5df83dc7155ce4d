"""A program: train tenants under a limit of memory, then without one; print what became of each as JSON.

`python limited_memory.py FREE_MIB LIMIT LENGTH...` with one tenant for each length of its targets.
"""

import json
import re
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config

from components.config import EngineConfig, TrainConfig
from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.trainable_delta import TrainableDelta
from components.training.loop import train_together
from components.training.run import TrainingJob, TrainResult

CONTEXT = 4096
ENGINE = EngineConfig(train_tokens=1_000_000)


@dataclass(frozen=True)
class NoTexts:
    eos_token_id: int = 0
    pad_token_id: int = 1


def base() -> Base:
    torch.manual_seed(0)
    sizes = {"n_embd": 64, "n_head": 4, "n_layer": 2, "n_positions": CONTEXT, "initializer_range": 0.2}
    config = GPT2Config(vocab_size=67, bos_token_id=0, eos_token_id=0, pad_token_id=1, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    return Base(model, NoTexts(), "tiny", "0" * 64, "1" * 64, 1, CONTEXT)


def job(base: Base, length: int, stop: Callable[[], bool] = lambda: False) -> TrainingJob:
    short = {"prefix_length": 2, "max_steps": 2, "warmup_steps": 1, "batch_size": 12, "validate_every": 1}
    config = TrainConfig(**{**short, "initialization": "random", "learning_rate": 0.05})
    pairs = [
        TokenizedPair((7, 8, 9, 0), (*((7 * number + place) % 60 + 2 for place in range(length)), 0))
        for number in range(12)
    ]
    return TrainingJob(
        config, TrainableDelta(base, config, "", None, ()), pairs, pairs[:3], tenant=str(length), stop=stop
    )


def train(base: Base, lengths: list[int]) -> dict[str, Any]:
    found = {}
    for ended in train_together(base, [job(base, length) for length in lengths], ENGINE):
        found[ended.job.tenant] = ended.result
    return found


def used_bytes(kind: str) -> int:
    told = re.search(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert told is not None
    return 1024 * int(told[1])


def main(free_mib: str, limit: str, *lengths: str) -> None:
    torch.set_num_threads(1)
    here, numbers = base(), [int(length) for length in lengths]
    train(here, [5])
    which, field = {"as": (resource.RLIMIT_AS, "VmSize"), "data": (resource.RLIMIT_DATA, "VmData")}[limit]
    most = used_bytes(field) + int(free_mib) * 2**20
    resource.setrlimit(which, (most, resource.RLIM_INFINITY))
    tight = train(here, numbers)
    resource.setrlimit(which, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wide = train(here, [int(tenant) for tenant, result in tight.items() if isinstance(result, TrainResult)])
    told = {}
    for tenant, result in tight.items():
        if isinstance(result, TrainResult):
            one, other = (each.delta.prefix.stack_decoder_site() for each in (result, wide[tenant]))
            told[tenant] = [float((one - other).norm() / other.norm()), result.best_step]
        else:
            told[tenant] = str(result)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
