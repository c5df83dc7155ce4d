"""The estimate of training's memory is near what a step of many tenants really takes."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from peak_memory import measure_peak_bytes

from components.config import EngineConfig, TrainConfig
from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.trainable_delta import TrainableDelta
from components.training.loop import train_together
from components.training.memory_estimate import TrainingLoad, estimate_training_memory
from components.training.run import TrainingJob

LOAD = TrainingLoad(tenants=3, prefix_length=100, batch_size=4, input_tokens=160, output_tokens=60, pass_tokens=1320)


def train(base: Base) -> None:
    config = TrainConfig(
        prefix_length=LOAD.prefix_length,
        initialization="random",
        batch_size=LOAD.batch_size,
        max_steps=2,
        warmup_steps=0,
        validate_every=9,
    )
    pairs = [TokenizedPair((5,) * LOAD.input_tokens, (6,) * LOAD.output_tokens)] * LOAD.batch_size
    jobs = [
        TrainingJob(config, TrainableDelta(base, config, "", None, ()), pairs, pairs[:1], tenant=str(number))
        for number in range(LOAD.tenants)
    ]
    for ended in train_together(base, jobs, EngineConfig(train_tokens=LOAD.pass_tokens)):
        assert not isinstance(ended.result, Exception)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_oss", "bart", "t5", "deepseek_v3", "falcon_h1"])
def test_the_estimate_is_near_the_peak(kind: str, build_base: Callable[..., Base]) -> None:
    limit = {"gpt2": "n_positions"}.get(kind, "max_position_embeddings")
    base = build_base(kind, context=512, **({} if kind == "t5" else {limit: 512}))
    train(base)
    peak, estimate = measure_peak_bytes(lambda: train(base)), estimate_training_memory(base, LOAD)
    assert 0.7 < (estimate.largest_pass + estimate.tenant_tensors) / peak < 1.3


def test_tenants_and_rows_fill_passes() -> None:
    assert (LOAD.tenants_together, LOAD.pass_rows) == (3, 6)
    assert replace(LOAD, tenants=1).pass_rows == 4
    assert replace(LOAD, tenants=100).tenants_together == 3
    assert (replace(LOAD, pass_tokens=10).tenants_together, replace(LOAD, pass_tokens=10).pass_rows) == (1, 1)
