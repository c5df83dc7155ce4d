"""Out of memory: passes get smaller with equal results; an example that does not fit even alone ends its own run."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_limit import run_program

from components.config import EngineConfig
from components.data.pairs import TokenizedPair
from components.errors import TrainingError
from components.model.base.load import Base
from components.model.delta import Delta
from components.training import shard
from components.training.loop import train_alone, train_together
from components.training.objective import StepDeltas
from components.training.run import TenantRun, TrainingJob

JobOf = Callable[..., TrainingJob]
Check = Callable[..., None]
NAMES: dict[str, dict[str, Any]] = {"a": {}, "b": {"mlp_hidden": 4}, "c": {"max_steps": 6}, "d": {"prefix_length": 5}}
CPU_SAYS = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
PROBLEMS: dict[str, Callable[[], BaseException]] = {
    "gpu": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": lambda: RuntimeError(CPU_SAYS),
    "python": MemoryError,
}


class Device:
    """Records the size of every pass over the base, and raises out of memory in the n-th one, or in all large ones."""

    def __init__(self, *, at: int = 0, backward: bool = False, most: int = 10**9, kind: str = "gpu") -> None:
        self.at, self.backward, self.most, self.problem = at, backward, most, PROBLEMS[kind]
        self.count, self.sizes = 0, list[int]()

    def __call__(self, _block: Any, _args: Any, hidden: torch.Tensor) -> None:
        self.count += 1
        self.sizes.append(hidden.shape[0] * hidden.shape[1])
        if self.sizes[-1] > self.most:
            raise self.problem()
        if self.count == self.at:
            if not self.backward:
                raise self.problem()
            if not hidden.requires_grad:
                self.at += 1
                return
            hidden.register_hook(self._fail)

    def _fail(self, _gradient: torch.Tensor) -> None:
        raise self.problem()

    @contextmanager
    def under(self, base: Base) -> Iterator["Device"]:
        # The first block: the whole pass is still to come, and the backward has brought gradients to the second.
        handle = base.model.transformer.h[0].register_forward_hook(self)
        try:
            yield self
        finally:
            handle.remove()


def jobs(base: Base, job_of: JobOf) -> list[TrainingJob]:
    return [job_of(base, name, **values) for name, values in NAMES.items()]


@pytest.fixture(scope="module")
def base(build_model: Callable[..., Any], base_of: Callable[[Any], Base]) -> Base:
    return base_of(build_model("gpt2"))


@pytest.fixture(scope="module")
def alone(base: Base, job_of: JobOf) -> dict[str, Any]:
    """Each tenant's result alone. The base is probed here, so that `Device` counts only the passes of a shard."""
    return {job.tenant: train_alone(base, job) for job in jobs(base, job_of)}


def train_shard(base: Base, made: list[TrainingJob], **engine: Any) -> dict[str, Any]:
    return {ended.job.tenant: ended.result for ended in train_together(base, made, EngineConfig(**engine))}


@pytest.mark.parametrize(
    ("at", "backward", "kind"),
    [
        (3, False, "gpu"),
        (7, False, "cpu"),
        (14, False, "python"),
        (3, True, "cpu"),
        (7, True, "python"),
        (14, True, "gpu"),
    ],
)
def test_memory_that_runs_out_once_changes_nothing(
    base: Base, job_of: JobOf, check_same: Check, alone: dict[str, Any], at: int, backward: bool, kind: str
) -> None:
    with Device(at=at, backward=backward, kind=kind).under(base) as device:
        results = train_shard(base, jobs(base, job_of), train_tokens=100)
    assert device.count > at
    for name, result in results.items():
        check_same(alone[name], result)


def test_passes_are_halved_until_they_fit_and_stay_small(
    base: Base, job_of: JobOf, check_same: Check, alone: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with Device(most=60).under(base) as device, caplog.at_level(logging.WARNING):
        results = train_shard(base, jobs(base, job_of))
    for name, result in results.items():
        check_same(alone[name], result)
    messages = [record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()]
    assert 1 <= len(messages) <= 6
    assert "passes of at most" in messages[-1]
    assert len([size for size in device.sizes if size > 60]) == len(messages)
    assert max(device.sizes[-10:]) > 25


def test_an_example_that_does_not_fit_alone_ends_its_own_run_and_makes_no_pass_smaller(
    base: Base, job_of: JobOf, check_same: Check, alone: dict[str, Any]
) -> None:
    made = jobs(base, job_of)
    large = job_of(base, "large")
    for number, name in enumerate(("train", "validation")):
        one = [*getattr(large, name), TokenizedPair((*range(2, 52), 0), (3, 0))]
        made.insert(2 * number, TrainingJob(large.config, job_of(base, "large").module, **fields(large, name, one)))
    with Device(most=51).under(base) as device:
        results = train_shard(base, made, train_tokens=50)
    for name in ("large-train", "large-validation"):
        assert isinstance(results[name], TrainingError)
        assert str(results[name]).startswith("wanted memory for one example; got too little for its 53 tokens; set ")
        assert "train.max_source_tokens" in str(results[name])
    for name, result in alone.items():
        check_same(result, results[name])
    assert max(device.sizes[-20:]) > 30


def fields(job: TrainingJob, name: str, pairs: list[TokenizedPair]) -> dict[str, Any]:
    return {"train": job.train, "validation": job.validation, name: pairs, "tenant": f"large-{name}"}


class Narrow(StepDeltas):
    """Raises out of memory for more than `most` tenants: at once or, with `late`, after `propagate_gradients`."""

    most, late, kind, refused = 1, False, "gpu", 0

    def __init__(self, base: Base, deltas: Sequence[Delta]) -> None:
        super().__init__(base, deltas)
        self.check(late=False)

    def propagate_gradients(self) -> None:
        """Raise after the gradients were added, as a real failure may do."""
        super().propagate_gradients()
        self.check(late=True)

    def check(self, *, late: bool) -> None:
        if self.tenant_count > self.most and late == self.late:
            Narrow.refused += 1
            raise PROBLEMS[self.kind]()


@pytest.mark.parametrize(
    ("most", "late", "kind"),
    [
        (1, False, "gpu"),
        (2, False, "cpu"),
        (3, False, "python"),
        (1, True, "cpu"),
        (2, True, "python"),
        (3, True, "gpu"),
    ],
)
def test_tenants_whose_slots_do_not_fit_together_train_one_after_the_other(
    base: Base,
    job_of: JobOf,
    check_same: Check,
    alone: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    late: bool,
    kind: str,
) -> None:
    monkeypatch.setattr(shard, "StepDeltas", Narrow)
    for name, value in {"most": most, "late": late, "kind": kind, "refused": 0}.items():
        monkeypatch.setattr(Narrow, name, value)
    results = train_shard(base, jobs(base, job_of))
    assert Narrow.refused
    assert set(results) == set(alone)
    for name, result in results.items():
        check_same(alone[name], result)


def test_a_tenant_whose_slots_do_not_fit_alone_fails(
    base: Base, job_of: JobOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "StepDeltas", Narrow)
    monkeypatch.setattr(Narrow, "most", 0)
    for result in train_shard(base, jobs(base, job_of)).values():
        assert isinstance(result, TrainingError)
        assert str(result).startswith("wanted memory for a tenant's own tensors; got too little for its ")


@pytest.mark.parametrize("kind", ["gpu", "cpu", "python"])
def test_an_optimizer_without_memory_ends_its_own_run(
    base: Base, job_of: JobOf, check_same: Check, alone: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    made = jobs(base, job_of)
    update = TenantRun.update

    def fails(run: TenantRun, nats: float, count: int) -> None:
        if run.job is made[1]:
            raise PROBLEMS[kind]()
        update(run, nats, count)

    monkeypatch.setattr(TenantRun, "update", fails)
    results = train_shard(base, made)
    assert isinstance(results.pop("b"), TrainingError)
    for name, result in results.items():
        check_same(alone[name], result)


def test_other_errors_are_not_taken_for_out_of_memory(base: Base, job_of: JobOf) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    train_alone(base, job_of(base, "a"))
    handle = base.model.transformer.h[0].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        train_shard(base, jobs(base, job_of))
    handle.remove()


CASES = {"address space,30": ["300", "290"], "data,30": ["300", "290"], "address space,12": ["20", "3000", "40"]}
"""A kind of limit with its free MiB -> lengths of targets, one tenant for each."""


@pytest.fixture(scope="module")
def limited() -> dict[str, Any]:
    """The result of each of CASES; one process computes all."""
    program = Path(__file__).with_name("limited_training.py")
    results = run_program(program, *(",".join([limit, *lengths]) for limit, lengths in CASES.items()))
    return dict(zip(CASES, results, strict=True))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
@pytest.mark.parametrize("case", CASES)
def test_real_limits(limited: dict[str, Any], case: str) -> None:
    assert any("out of memory: passes of at most" in message for message in limited[case]["log"])
    results = limited[case]["outcomes"]
    assert sorted(results) == sorted(CASES[case])
    if "3000" in results:
        assert results.pop("3000").startswith("wanted memory for one example; got too little for its 3005 tokens")
    for apart, best_step in results.values():
        assert apart < 1e-4
        assert best_step == 2
