"""Ending exactly the processes that were started, with their children, by number and start."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from infra.services.processes import StartedProcess, end_process, is_running, read_start, start_process

CHILD_THEN_SLEEP = """
import pathlib, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep, start_new_session=bool(int(sys.argv[2])))
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(float(sys.argv[3]))
"""


def start(tmp_path: Path, *, own_session: bool = False, seconds: float = 600) -> tuple[StartedProcess, psutil.Process]:
    """Start a process with a child; return both."""
    note = tmp_path / "child"
    command = [sys.executable, "-c", CHILD_THEN_SLEEP, str(note), str(int(own_session)), str(seconds)]
    process = start_process(command, {}, tmp_path, tmp_path / "log")
    wait_until(lambda: note.exists() and note.read_text(), "the child")
    return process, psutil.Process(int(note.read_text()))


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """A process with which the services have nothing to do."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("own_session", [False, True])
def test_a_process_ends_with_its_children_and_nothing_else(tmp_path, bystander, own_session):
    process, child = start(tmp_path, own_session=own_session)
    assert end_process(process, signal.SIGTERM, 60)
    assert not is_running(process)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert bystander.poll() is None


def test_a_child_in_its_session_ends_even_if_the_process_itself_has_ended(tmp_path):
    process, child = start(tmp_path, seconds=0)
    wait_until(lambda: not is_running(process), "the end of the process")
    assert end_process(process, signal.SIGTERM, 60)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_process_that_has_the_number_of_an_earlier_one_is_left_alone(bystander):
    earlier = StartedProcess(pid=bystander.pid, start=f"{read_start(bystander.pid)} earlier")
    assert not is_running(earlier)
    assert not end_process(earlier, signal.SIGKILL, 60)
    assert bystander.poll() is None


def test_a_process_that_ignores_the_signal_is_killed(tmp_path):
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    process = start_process([sys.executable, "-c", deaf], {}, tmp_path, tmp_path / "log")
    wait_until(lambda: "deaf" in (tmp_path / "log").read_text(), "the process to ignore SIGTERM")
    assert end_process(process, signal.SIGTERM, 0.5)
    wait_until(lambda: not is_running(process), "the end of the process")
