"""Whole trainings on the device: as on the CPU, the same in every run, resumed, and with little memory for a pass."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from method_training import TRAIN, VALIDATION, make_config, stop_at

from components.config import EngineConfig, TrainConfig
from components.data.pairs import TokenizedPair
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.trainable_delta import TrainableDelta
from components.training.loop import train_alone, train_together
from components.training.prepare import fit
from components.training.run import TrainingJob, TrainResult

pytestmark = pytest.mark.gpu
Bases = Callable[..., tuple[Base, Base]]
PairsOf = Callable[..., list[TokenizedPair]]
CASES = [
    *(("gpt2", method) for method in ("prefix", "infix", "embedding", "full", "adapter", "lora", "prefix+lora")),
    *(("bart", method) for method in ("prefix", "top-k", "lora")),
]


def join(delta: Delta) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in delta.tensors.values()])


def check_same(found: TrainResult, wanted: TrainResult, losses: float, values: float) -> None:
    """Compare results whose numbers differ by rounding."""
    assert [point.step for point in found.curve] == [point.step for point in wanted.curve]
    for one, other in zip(found.curve, wanted.curve, strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=losses)
    ours, theirs = join(found.delta), join(wanted.delta)
    assert float((ours - theirs).norm() / theirs.norm()) < values


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_training_on_the_device_is_training_on_the_cpu(bases: Bases, kind: str, method: str) -> None:
    config = make_config(method)
    on_cpu, on_device = (fit(base, config, TRAIN, VALIDATION) for base in bases(kind))
    check_same(on_device, on_cpu, 2e-3, 2e-2)
    assert all(tensor.device.type == "cpu" for tensor in on_device.delta.tensors.values())


@pytest.mark.parametrize("method", ["prefix", "lora"])
def test_a_training_that_is_stopped_at_once_has_a_result(bases: Bases, method: str) -> None:
    results = [fit(base, make_config(method), TRAIN, VALIDATION, stop=lambda: True) for base in bases("gpt2")]
    assert [result.steps for result in results] == [0, 0]
    assert results[1].train_loss == pytest.approx(results[0].train_loss, rel=1e-4)


def test_a_resumed_training_is_an_uninterrupted_one_bit_by_bit(bases: Bases, tmp_path: Path) -> None:
    _, base = bases("gpt2")
    config = make_config("prefix", 8)
    whole = fit(base, config, TRAIN, VALIDATION)
    kept = {"state": tmp_path, "run_key": "a"}
    assert fit(base, config, TRAIN, VALIDATION, stop=stop_at(4), **kept).steps == 4
    resumed = fit(base, config, TRAIN, VALIDATION, **kept)
    assert resumed.resumed_from == 4
    assert resumed.curve == whole.curve
    assert torch.equal(join(resumed.delta), join(whole.delta))


def make_jobs(base: Base, pairs_of: PairsOf, **values: Any) -> list[TrainingJob]:
    jobs = []
    for number, tenant in enumerate(("a", "b", "c")):
        config = TrainConfig(
            **{"prefix_length": 2 + number, "initialization": "random", "max_steps": 4, "validate_every": 2}
            | {"batch_size": 4, "warmup_steps": 1, "learning_rate": 0.05}
            | values
        )
        module = TrainableDelta(base, config, "", None, ())
        size = 4 * config.batch_size
        jobs.append(TrainingJob(config, module, pairs_of(size, number), pairs_of(4, -number - 1), tenant=tenant))
    return jobs


def test_tenants_in_shared_passes_train_as_alone_and_the_same_in_every_run(bases: Bases, pairs_of: PairsOf) -> None:
    _, base = bases("gpt2")
    alone = {job.tenant: train_alone(base, job) for job in make_jobs(base, pairs_of)}
    runs = [
        {ended.job.tenant: ended.result for ended in train_together(base, make_jobs(base, pairs_of))} for _ in range(2)
    ]
    for tenant, wanted in alone.items():
        first, second = (run[tenant] for run in runs)
        assert isinstance(first, TrainResult)
        assert isinstance(second, TrainResult)
        check_same(first, wanted, 1e-4, 1e-3)
        assert first.curve == second.curve
        assert torch.equal(join(first.delta), join(second.delta))


def test_passes_are_split_when_the_memory_of_the_gpu_runs_out(
    gpu: torch.device, bases: Bases, pairs_of: PairsOf, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit is set between what is held before a pass and the peak of whole passes, measured first."""
    _, base = bases("gpt2", n_embd=256, n_head=4, n_layer=4, n_positions=64)

    def train() -> dict[str, Any]:
        jobs = make_jobs(base, lambda count, seed: pairs_of(count, seed, 30), batch_size=48)
        return {ended.job.tenant: ended.result for ended in train_together(base, jobs, EngineConfig())}

    train()  # torch's and CUDA's own buffers are there afterwards
    held = torch.cuda.memory_allocated(gpu)
    torch.cuda.reset_peak_memory_stats(gpu)
    whole = train()
    peak = torch.cuda.max_memory_allocated(gpu)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction((held + 0.6 * (peak - held)) / total, gpu)
    try:
        with caplog.at_level(logging.WARNING):
            split = train()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    assert any("out of memory: passes of at most" in record.getMessage() for record in caplog.records)
    for tenant, wanted in whole.items():
        check_same(split[tenant], wanted, 1e-4, 1e-3)
