"""Training with two processes gives the same results as with one; the end of a process is an error that names it."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_script import write_forked_python

from components.config import BaseConfig, EngineConfig
from components.data.pairs import TokenizedPair
from components.errors import ConfigError, TrainingError
from components.model.base.load import Base, load_base
from components.training.checkpoint import read_saved_step
from components.training.distributed import coordinator, open_pass_runner
from components.training.distributed.passes import PassRunner, run_local_passes
from components.training.loop import train_together
from components.training.objective import TrainingExample
from components.training.run import TrainingJob

PROCESSES = EngineConfig(processes=2)
Made = Callable[..., TrainingJob]


@pytest.fixture(scope="module", autouse=True)
def fork_workers() -> Iterator[None]:
    """Let the fork server start the other processes of a training, which else import torch and transformers anew."""
    earlier = spawn.get_executable()
    spawn.set_executable(str(write_forked_python()))
    yield
    spawn.set_executable(earlier)


@pytest.fixture(scope="module")
def folder_of(build_model: Callable[..., Any], letters: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    def make(kind: str) -> BaseConfig:
        folder = tmp_path_factory.mktemp(kind)
        build_model(kind).save_pretrained(folder)
        letters.save_pretrained(folder)
        return BaseConfig(path=str(folder))

    return make


@pytest.fixture(scope="module")
def gpt2(folder_of: Callable[[str], BaseConfig]) -> BaseConfig:
    return folder_of("gpt2")


def trained(
    base: Base, jobs: list[TrainingJob], runner: PassRunner | None = None, engine: EngineConfig = PROCESSES
) -> Any:
    return {ended.job.tenant: ended.result for ended in train_together(base, jobs, engine, runner)}


def check_as_alone(base: Base, runner: PassRunner, jobs: Callable[[], list[TrainingJob]], check_same: Any) -> None:
    engine = PROCESSES.model_copy(update={"train_tokens": 40})
    alone, together = trained(base, jobs(), engine=engine), trained(base, jobs(), runner, engine)
    assert list(alone) == list(together)
    assert sorted(alone) == [job.tenant for job in jobs()]
    for tenant, result in alone.items():
        check_same(together[tenant], result)


VALUES: list[dict[str, Any]] = [
    {"mlp_hidden": 4},
    {"gradient_checkpointing": True},
    {"shared": "cedar"},
    {"batch_size": 1},
    {"method": "embedding"},
    {"method": "infix"},
    {"method": "in-context", "demonstrations": 1},
    {"method": "lora", "lora_rank": 2},
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "end"), [("gpt2", "killed"), ("bart", "interrupted")])
def test_two_processes_train_what_one_does_until_one_ends_and_the_run_resumes(
    folder_of: Any, job_of: Made, check_same: Any, tmp_path: Path, kind: str, end: str
) -> None:
    """One worker, whose start takes seconds, serves all checks of a base."""
    config = folder_of(kind)
    base, threads = load_base(config, device="cpu"), torch.get_num_threads()
    whole = trained(base, [job_of(base, "alder", max_steps=6)])["alder"]
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            os.kill(worker.process.pid, signal.SIGINT)  # as a terminal does; the worker ignores it
        if calls == 4:
            if end == "interrupted":
                raise KeyboardInterrupt
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.join()
        return False

    saved = {"state": tmp_path, "run_key": "a", "max_steps": 6}
    expected = KeyboardInterrupt if end == "interrupted" else TrainingError
    with pytest.raises(expected) as caught, open_pass_runner(base, config, PROCESSES) as runner:  # noqa: PT012 - one block
        (worker,) = runner.workers  # type: ignore[attr-defined]
        check_as_alone(base, runner, partial(make_all, base, job_of), check_same)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coordinator, "run_local_passes", run_with_little_memory)
            check_as_alone(base, runner, lambda: [job_of(base, "alder")], check_same)
        trained(base, [job_of(base, "alder", stop=stop, **saved)], runner)
    assert (worker.process.is_alive(), torch.get_num_threads()) == (False, threads)
    assert not torch.distributed.is_initialized()
    if end == "killed":
        assert "process 1 on cpu ended: exit code -9" in str(caught.value)
    assert read_saved_step(tmp_path, "a") == 3
    resumed = trained(base, [job_of(base, "alder", **saved)])["alder"]
    assert resumed.resumed_from == 3
    check_same(resumed, whole)


def make_all(base: Base, job_of: Made) -> list[TrainingJob]:
    """Make a tenant for each of VALUES that the base can train; every second one is shorter in all respects."""
    shorter = {"prefix_length": 1, "count": 5}
    return [
        job_of(base, f"tenant{number}", **(shorter if number % 2 else {}), **values)
        for number, values in enumerate(VALUES)
        if not base.is_encoder_decoder or values.get("method") not in ("embedding", "infix")
    ]


def run_with_little_memory(deltas: Any, rows: Any, tokens: int, *, train: bool) -> Any:
    """Run the main process's passes as on a device with memory for 20 tokens."""
    if tokens > 20:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
    return run_local_passes(deltas, rows, tokens, train=train)


@pytest.mark.slow
def test_initial_states_are_exchanged_like_slots(folder_of: Any, job_of: Made, check_same: Any) -> None:
    config = folder_of("lfm2")
    base = load_base(config, device="cpu")

    def make_jobs() -> list[TrainingJob]:
        return [job_of(base, "alder", initial_state=True, gradient_checkpointing=True), job_of(base, "birch", count=5)]

    with open_pass_runner(base, config, PROCESSES) as runner:
        check_as_alone(base, runner, make_jobs, check_same)


def test_more_processes_than_gpus_are_refused(base: Base) -> None:
    class OnGpu:
        device = torch.device("cuda")

    with (
        pytest.raises(ConfigError, match=r"engine.processes: 99 with \d+ GPUs"),
        open_pass_runner(replace(base, model=OnGpu()), BaseConfig(path="nowhere"), EngineConfig(processes=99)),
    ):
        pass


def test_rows_are_divided_whole_and_evenly() -> None:
    rows = [TrainingExample(0, TokenizedPair((5,) * length, (6,))) for length in (9, 1, 8, 2, 7, 3, 30)]
    parts = coordinator.divide_by_tokens(rows, 3)
    assert sorted(map(id, (row for part in parts for row in part))) == sorted(map(id, rows))
    assert sorted(sum(row.pair.length for row in part) for part in parts) == [17, 19, 31]
    assert [len(part) for part in coordinator.divide_by_tokens(rows[:1], 3)] == [1, 0, 0]
