"""Worker processes on a tiny base: measured, killed, interrupted and resumed."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import wait_until

from components.errors import DataError, TrainingError
from components.reproduction.cells import read_result
from components.reproduction.process import measure_in_subprocess
from components.reproduction.worker import CellJob
from components.training.checkpoint import read_saved_step

_STEP_PAUSE_S = 0.02
"""A training step takes little longer."""
MEASURE = """
import sys
from components.reproduction.process import measure_in_subprocess
from components.reproduction.worker import CellJob
measure_in_subprocess(CellJob.model_validate_json(sys.argv[1]), "the cell")
"""


def write_program(path: Path, text: str) -> Path:
    """Write a shell script that stands for the Python interpreter."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_an_error_of_the_worker_is_raised_as_its_own_class(
    make_job: Callable[..., CellJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = '{"error": ["DataError", "examples", "none", "add some"]}'
    monkeypatch.setattr(sys, "executable", str(write_program(tmp_path / "python", f"echo '{message}'; exit 2")))
    with pytest.raises(DataError) as error:
        measure_in_subprocess(make_job(), "the cell")
    assert (error.value.wanted, error.value.got, error.value.fix) == ("examples", "none", "add some")


@pytest.mark.parametrize(
    ("end", "got", "fix"),
    [
        ("exit 1", "exit code 1, last message 'no memory'", "messages.log"),
        ("kill -9 $$", "signal SIGKILL, last message 'no memory'", "free memory"),
    ],
)
def test_a_worker_that_ends_without_a_result_is_an_error(
    make_job: Callable[..., CellJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, got: str, fix: str
) -> None:
    monkeypatch.setattr(sys, "executable", str(write_program(tmp_path / "python", f"echo 'no memory' >&2; {end}")))
    with pytest.raises(TrainingError) as error:
        measure_in_subprocess(make_job(), "the cell")
    assert error.value.got == got
    assert fix in error.value.fix


@pytest.mark.slow
def test_a_killed_and_then_an_interrupted_run_resume_and_leave_result_and_texts(
    make_job: Callable[..., CellJob],
) -> None:
    job = make_job(budget="200")
    killed = _stop_in_training(job, signal.SIGKILL, after=0)
    interrupted = _stop_in_training(job, signal.SIGINT, after=killed)
    assert 0 < killed < interrupted < 200
    measure_in_subprocess(job, "the cell")
    result = read_result(job.out, job.cell)
    assert result is not None
    assert (result.cell, result.resumed_from, result.steps) == (job.cell, interrupted, 200)
    assert result.trained == 8 * 2 * 2 * 16
    assert 100 < result.peak_train_mib <= result.peak_mib
    assert result.train_seconds > 0
    assert len(job.predictions_path.read_text().splitlines()) == 2
    assert not job.state_folder.exists()


def _stop_in_training(job: CellJob, number: signal.Signals, after: int) -> int:
    """Measure in a process, stop it once it has saved a step beyond `after`, and return the step that it saved last."""
    process = subprocess.Popen(
        [sys.executable, "-c", MEASURE, job.model_dump_json()],
        stderr=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job may ignore it
    )
    wait_until(
        lambda: read_saved_step(job.state_folder, job.cell.run_key) > after, "a saved step", pause_s=_STEP_PAUSE_S
    )
    process.send_signal(number)
    assert process.wait(60) == -number
    wait_until(lambda: not _is_worker_alive(job), "the end of the worker", pause_s=_STEP_PAUSE_S)
    assert read_result(job.out, job.cell) is None
    return read_saved_step(job.state_folder, job.cell.run_key)


def _is_worker_alive(job: CellJob) -> bool:
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_text() if entry.name.isdecimal() else ""
        except OSError:
            continue
        if "components.reproduction.worker" in command and str(job.work_folder) in command:
            return True
    return False
