"""Memory: the estimates for a token and for a tenant are near their real use, and limits are kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from control_group import write_limits
from peak_memory import measure_peak_bytes
from plain_paths import turn_off_unless

from components.config import EngineConfig
from components.data.pairs import TokenizedPair
from components.model.base import free_memory
from components.model.base.load import Base
from components.model.delta import Delta
from components.model.prefix.initialization import make_random_prefix
from components.training.loop import train_alone, train_together
from components.training.memory import MemoryBudget, estimate_tenant_bytes, measure_token_bytes
from components.training.objective import StepDeltas, TrainingExample
from components.training.run import TenantRun, TrainingJob

JobOf = Callable[..., TrainingJob]
CPU = torch.device("cpu")


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("length", [20, 56])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "t5"])
def test_the_estimate_for_a_token_is_near_its_use(
    build_base: Callable[..., Base], kind: str, length: int, packing: bool
) -> None:
    base, half = build_base(kind), length // 2

    def a_pass(rows: int) -> None:
        prefix = make_random_prefix(base.shape, 1, 0)
        for tensor in prefix.tensors.values():
            tensor.requires_grad_()
        pair = TokenizedPair((5,) * half, (6,) * half)
        StepDeltas(base, [Delta(prefix=prefix)]).backward([TrainingExample(0, pair)] * rows)

    with turn_off_unless(packing=packing):
        estimated = measure_token_bytes(base)
        few, many = (measure_peak_bytes(lambda rows=rows: a_pass(rows)) for rows in (5, 25))
    assert 0.5 < estimated * 20 * length / (many - few) < 2


@pytest.mark.parametrize("values", [{}, {"mlp_hidden": 96}, {"method": "embedding"}], ids=str)
def test_the_estimate_for_a_tenant_is_near_its_use(base: Base, job_of: JobOf, values: dict[str, Any]) -> None:
    job = job_of(base, "a", **{"prefix_length": 40, "max_steps": 2, "count": 2, **values})

    def own(run: TenantRun) -> int:
        states = [value for state in run.optimizer.state.values() for value in state.values()]
        grads = [parameter.grad for parameter in job.module.parameters() if parameter.grad is not None]
        tensors = [*job.module.parameters(), *grads, *states, *run.best_delta.tensors.values()]
        storages = {storage.data_ptr(): storage.nbytes() for storage in map(torch.Tensor.untyped_storage, tensors)}
        return sum(storages.values())

    run = TenantRun(job)
    for parameter in job.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.optimizer.step()
    assert own(run) <= estimate_tenant_bytes(job.module, job.train) < 2 * own(run)


def test_the_budget_is_the_smaller_of_the_setting_and_the_free_memory(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gib, token = 2**30, measure_token_bytes(base)
    assert MemoryBudget.estimate(base, EngineConfig(memory_gb=1.0)) == MemoryBudget(
        EngineConfig().train_tokens, gib / 4
    )
    tight = MemoryBudget.estimate(base, EngineConfig(memory_gb=300 * token / gib))
    assert (tight.pass_tokens, tight.tenant_bytes) == (150, pytest.approx(75 * token))
    assert MemoryBudget.estimate(base, EngineConfig(memory_gb=300 * token / gib, train_tokens=99)).pass_tokens == 99
    monkeypatch.setattr(
        free_memory, "_CGROUP", write_limits(tmp_path, memory_max=str(int(800 * token)), memory_current="0")
    )
    assert MemoryBudget.estimate(base, EngineConfig()).pass_tokens in (399, 400)
    write_limits(tmp_path, memory_current=str(10**12))
    assert MemoryBudget.estimate(base, EngineConfig()).pass_tokens == 1


def test_next_to_no_memory_trains_one_tenant_at_a_time_and_one_row_in_a_pass(
    base: Base, job_of: JobOf, check_same: Callable[..., None]
) -> None:
    names = ("a", "b", "c")
    tight, rows, inside = EngineConfig(memory_gb=1e-9), list[int](), list[str]()

    def record(_embedding: Any, args: tuple[torch.Tensor]) -> None:
        rows.append(args[0].numel())

    alone = {name: train_alone(base, job_of(base, name)) for name in names}
    longest = max(
        pair.length - 1 for name in names for pair in [*job_of(base, name).train, *job_of(base, name).validation]
    )
    handle = base.model.transformer.wte.register_forward_pre_hook(record)
    jobs = [job_of(base, name, log=lambda step, _, name=name: inside.append(name)) for name in names]
    for ended in train_together(base, jobs, tight):
        check_same(alone[ended.job.tenant], ended.result)
    handle.remove()
    assert max(rows) <= max(longest, 23)  # 23: the passes that measure a token
    assert inside == sorted(inside)
