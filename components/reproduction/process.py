"""Run a worker process for a cell, read its messages, and stop it without losing its training.

Knows processes and the worker's messages; does not know what is measured.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import components
from components.errors import PrefixFleetError, TrainingError, read_error
from components.reproduction.worker import STOPPED_EXIT_CODE, CellJob
from components.stages.progress import StageProgress, report_progress
from components.storage.atomic_files import convert_disk_errors, write_atomic

_STOP_TIMEOUT_S = 60
_LOG_FILE = "messages.log"


def measure_in_subprocess(job: CellJob, label: str) -> None:
    """Measure a cell in its own process; on return its result is in the job's folder.

    On Ctrl-C the worker saves its training before KeyboardInterrupt is raised here.

    Raises:
        PrefixFleetError: the error that the worker reported.
        TrainingError: the worker ended without reporting an error, for example because the system killed it.
    """
    description = job.work_folder / "job.json"
    write_atomic(description, (job.model_dump_json() + "\n").encode())
    with (
        convert_disk_errors(f"write {job.work_folder / _LOG_FILE}"),
        (job.work_folder / _LOG_FILE).open("wb") as messages,
    ):
        with _run_worker(description, messages.fileno()) as process:
            problem = _read_messages(process, label)
        code = process.wait()
    if problem is not None:
        raise problem
    if code == STOPPED_EXIT_CODE:
        raise KeyboardInterrupt
    if code:
        raise _make_worker_error(code, job.work_folder / _LOG_FILE)
    shutil.rmtree(job.state_folder, ignore_errors=True)


@contextmanager
def _run_worker(description: Path, messages: int) -> Iterator["subprocess.Popen[str]"]:
    root = str(Path(components.__path__[0]).parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "components.reproduction.worker", str(description)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=messages,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": path},
        process_group=0,  # the terminal's Ctrl-C reaches only this process, which sends SIGINT to the worker once
    )
    try:
        yield process
    except BaseException:
        _stop_worker(process)
        raise
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _read_messages(process: "subprocess.Popen[str]", label: str) -> PrefixFleetError | None:
    problem = None
    assert process.stdout is not None  # noqa: S101
    for line in process.stdout:
        message = json.loads(line)
        if "progress" in message:
            work, done, total, note = message["progress"]
            report_progress(StageProgress(work, label, done, total, note))
        if "error" in message:
            problem = read_error(message["error"])
    process.wait()
    return problem


def _stop_worker(process: "subprocess.Popen[str]") -> None:
    """Let the worker save its training; kill it after a second Ctrl-C or after a minute."""
    try:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=_STOP_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _make_worker_error(code: int, messages: Path) -> TrainingError:
    lines = messages.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    end = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    last = f", last message {lines[-1]!r}" if lines else ""
    fix = "free memory and run again" if code == -signal.SIGKILL else f"read {messages} and run again"
    return TrainingError("a worker that measures its cell", f"{end}{last}", f"{fix}; saved training is resumed")
