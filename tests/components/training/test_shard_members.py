"""The runs of a shard: jobs start when there is room, runs end in their order, and one failure stops no other run."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_paths import turn_off_unless
from safetensors import safe_open

from components.config import EngineConfig
from components.data.pairs import TokenizedPair
from components.errors import TrainingError, WorkspaceError
from components.model.base.load import Base
from components.training.checkpoint import STATE_FILE, read_saved_step
from components.training.loop import train_alone, train_together
from components.training.memory import MemoryBudget, estimate_tenant_bytes
from components.training.run import TrainingJob, TrainResult

JobOf = Callable[..., TrainingJob]
Check = Callable[..., None]
STEPS = {"a": 9, "b": 3, "c": 5, "d": 0, "e": 4, "f": 2, "g": 6}


def train_shard(base: Base, jobs: list[TrainingJob], **engine: Any) -> dict[str, Any]:
    return {ended.job.tenant: ended.result for ended in train_together(base, jobs, EngineConfig(**engine))}


class Watched:
    """An iterable of jobs that records which job starts, which ends, and how many are in training at most."""

    def __init__(self, jobs: list[TrainingJob]) -> None:
        self.jobs, self.drawn, self.ended = jobs, list[str](), list[str]()
        self.most = 0

    def __iter__(self) -> Iterator[TrainingJob]:
        for job in self.jobs:
            self.drawn.append(job.tenant)
            self.most = max(self.most, len(self.drawn) - len(self.ended))
            yield job

    def train(self, base: Base) -> dict[str, Any]:
        found = {}
        for ended in train_together(base, self):
            found[ended.job.tenant] = ended.result
            self.ended.append(ended.job.tenant)
        return found


@pytest.mark.parametrize("bound", ["tokens", "memory"])
def test_jobs_start_while_there_is_room_and_an_ended_run_makes_room(
    base: Base, job_of: JobOf, check_same: Check, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    def jobs() -> list[TrainingJob]:
        made = [job_of(base, name, max_steps=steps, validate_every=1) for name, steps in STEPS.items()]
        return [
            replace(job, train=[TokenizedPair((2 + place, 0), (3, 4 + place, 0)) for place in range(8)]) for job in made
        ]

    alone = {job.tenant: train_alone(base, job) for job in jobs()}
    need = estimate_tenant_bytes(jobs()[0].module, jobs()[0].train)
    # Four examples of five tokens a step: two tenants fill passes of 15 tokens.
    room = MemoryBudget(15, 1e12) if bound == "tokens" else MemoryBudget(4096, 2.5 * need)
    monkeypatch.setattr(MemoryBudget, "estimate", lambda _base, _engine: room)
    shard = Watched(jobs())
    results = shard.train(base)
    assert shard.drawn == list(STEPS)
    assert shard.most == 3  # two in training, and the next one, which waits
    assert list(results) == by_turns(STEPS, 2)
    for name, result in results.items():
        check_same(alone[name], result)


def by_turns(steps: dict[str, int], places: int) -> list[str]:
    """Return the order in which runs end if `places` of them train at a time, one step each in turn."""
    waiting, inside, ended = list(steps), dict[str, int](), list[str]()
    while waiting or inside:
        while waiting and len(inside) < places:
            name = waiting.pop(0)
            inside[name] = steps[name]
        done = [name for name, left in inside.items() if not left]
        ended += done
        inside = {name: left - (not done) for name, left in inside.items() if name not in done}
    return ended


def test_a_run_ends_by_early_stopping(base: Base, job_of: JobOf, check_same: Check) -> None:
    def jobs() -> list[TrainingJob]:
        common = {"count": 1, "max_steps": 40, "validate_every": 1, "learning_rate": 1.0}
        patient = [job_of(base, f"p{limit}", **common, patience=limit) for limit in (1, 3)]
        return [*patient, job_of(base, "calm", max_steps=12, patience=3)]

    results = train_shard(base, jobs())
    for limit in (1, 3):
        result = results[f"p{limit}"]
        since = [point for point in result.curve if point.step > result.best_step]
        assert result.steps == result.curve[-1].step < 40
        assert len(since) == limit
        assert all(point.validation_loss >= result.validation_loss for point in since)
    assert results["calm"].steps == 12
    for job in jobs():
        check_same(train_alone(base, job), results[job.tenant])


def test_a_stopped_run_is_saved_and_resumes_later(base: Base, job_of: JobOf, check_same: Check, tmp_path: Path) -> None:
    calls: list[int] = []
    kept = {"state": tmp_path, "run_key": "k"}
    stopping = job_of(base, "b", max_steps=6, **kept, stop=lambda: calls.append(1) or len(calls) > 3)
    results = train_shard(base, [job_of(base, "a"), stopping, job_of(base, "c", max_steps=5)])
    assert (results["a"].steps, results["b"].steps, results["c"].steps) == (4, 3, 5)
    assert read_saved_step(tmp_path, "k") == 3
    later = train_shard(base, [job_of(base, "d"), job_of(base, "b", max_steps=6, **kept)])
    assert later["b"].resumed_from == 3
    check_same(train_alone(base, job_of(base, "b", max_steps=6)), later["b"])


@pytest.mark.parametrize("seed", range(2))
def test_ctrl_c_saves_all_runs_and_each_resumes_from_its_own_step(
    base: Base, job_of: JobOf, check_same: Check, tmp_path: Path, seed: int
) -> None:
    def jobs() -> list[TrainingJob]:
        states = ({"state": tmp_path / name, "run_key": name} for name in STEPS)
        each = zip(STEPS.items(), states, strict=True)
        return [
            job_of(base, name, max_steps=steps, prefix_length=1 + steps % 3, **kept) for (name, steps), kept in each
        ]

    left = random.Random(seed).randrange(20, 60)

    def press_ctrl_c(*_: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    handle = base.model.transformer.h[1].register_forward_hook(press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        train_shard(base, jobs(), train_tokens=60)
    handle.remove()
    steps = {name: read_saved_step(tmp_path / name, name) for name in STEPS}
    assert any(steps.values())
    results = train_shard(base, jobs()[::-1])
    for job in jobs():
        assert results[job.tenant].resumed_from == steps[job.tenant]
        check_same(train_alone(base, replace(job, state=None)), results[job.tenant])


def test_a_closed_shard_is_saved(base: Base, job_of: JobOf, tmp_path: Path) -> None:
    job = job_of(base, "long", max_steps=50, state=tmp_path, run_key="k")
    shard = train_together(base, [job_of(base, "short", max_steps=3), job])
    assert next(shard).job.tenant == "short"
    shard.close()
    assert read_saved_step(tmp_path, "k") == 3


def test_an_interrupted_shard_saves_all_whose_states_can_be_written(
    base: Base, job_of: JobOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ill, well, calls = tmp_path / "ill", tmp_path / "well", 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        if calls == 4:
            shutil.rmtree(ill)
            ill.write_text("no folder")
            raise KeyboardInterrupt
        return False

    kept = {"run_key": "k", "max_steps": 50, "validate_every": 50}
    with pytest.raises(KeyboardInterrupt):
        train_shard(base, [job_of(base, "ill", state=ill, **kept), job_of(base, "well", state=well, stop=stop, **kept)])
    assert read_saved_step(well, "k") == 3
    assert "ill: training not saved: wanted to write " in caplog.text


def test_a_state_that_cannot_be_read_ends_its_run_before_it_starts(
    base: Base, job_of: JobOf, check_same: Check, tmp_path: Path
) -> None:
    (tmp_path / f".{STATE_FILE}.left.tmp").mkdir()
    jobs = [job_of(base, "a"), job_of(base, "ill", state=tmp_path), job_of(base, "b")]
    results = train_shard(base, jobs)
    assert isinstance(results["ill"], WorkspaceError)
    for name in ("a", "b"):
        check_same(train_alone(base, job_of(base, name)), results[name])


def not_a_number(job: TrainingJob) -> Callable[[int, dict[str, float]], None]:
    def at(step: int, _metrics: dict[str, float]) -> None:
        if step == 2:
            with torch.no_grad():
                next(job.module.parameters()).view(-1)[0] = float("nan")

    return at


@pytest.mark.parametrize(("case", "packing"), [("nan", True), ("inf", False), ("rate", True)])
def test_a_loss_that_is_not_finite_ends_its_own_run_alone(
    base: Base, job_of: JobOf, check_same: Check, tmp_path: Path, case: str, packing: bool
) -> None:
    kept = {"state": tmp_path, "run_key": "k"}
    rate = {"learning_rate": 1e38} if case == "rate" else {}
    ill = job_of(base, "ill", **kept, max_steps=8, **rate)
    if case == "nan":
        ill = replace(ill, log=not_a_number(ill))
    if case == "inf":
        next(ill.module.parameters()).data.fill_(float("inf"))

    def others() -> list[TrainingJob]:
        return [job_of(base, "a", mlp_hidden=4), job_of(base, "b", max_steps=6), job_of(base, "late", prefix_length=5)]

    with turn_off_unless(packing=packing):
        results = train_shard(base, [others()[0], ill, *others()[1:]])
        without = train_shard(base, others())
    assert isinstance(results["ill"], TrainingError)
    assert "a finite" in str(results["ill"])
    assert "lower train.learning_rate" in str(results["ill"])
    assert list(without) == [name for name in results if name != "ill"]
    for name, result in without.items():
        check_same(result, results[name], 1e-5)
    assert read_saved_step(tmp_path, "k") == {"nan": 2, "inf": 0, "rate": read_saved_step(tmp_path, "k")}[case]
    if read_saved_step(tmp_path, "k"):
        state = safe_open(tmp_path / STATE_FILE, framework="pt")
        assert all(state.get_tensor(name).isfinite().all() for name in state.keys())  # noqa: SIM118 - not a mapping


def test_a_state_that_cannot_be_written_ends_one_run_only(
    base: Base, job_of: JobOf, check_same: Check, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    jobs = [job_of(base, "a"), job_of(base, "ill", state=tmp_path / "file" / "state"), job_of(base, "b")]
    results = train_shard(base, jobs)
    assert isinstance(results["ill"], WorkspaceError)
    for name in ("a", "b"):
        assert isinstance(results[name], TrainResult)
        check_same(train_alone(base, job_of(base, name)), results[name])


def test_an_error_is_raised_in_training_alone(base: Base, job_of: JobOf) -> None:
    with pytest.raises(TrainingError, match="examples in the train split"):
        train_alone(base, replace(job_of(base, "a"), train=[]))
