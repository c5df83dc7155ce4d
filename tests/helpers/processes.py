"""Commands as processes of their own: run to their end, or read line by line and stopped by a signal; free ports."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forked_process import start_process
from forked_script import write_forked_scripts
from waiting import LIMIT_S

BIN = Path(sys.executable).parent
PREFIXFLEET, PREFECT, DVC = (str(BIN / name) for name in ("prefixfleet", "prefect", "dvc"))


def make_environment(*, own_prefect: bool = False) -> dict[str, str]:
    """This process's environment with this interpreter's tools first on the path.

    With `own_prefect`, without the session's settings of Prefect: a command then starts a server of its own, on files
    in its workspace, as it does for a user.
    """
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}
    left_out = ("PREFECT_API_", "PREFECT_HOME", "PREFECT_LOGGING_LEVEL") if own_prefect else ()
    return {name: value for name, value in environment.items() if not name.startswith(left_out)}


def run_in(
    root: Path, *command: str, check: bool = True, own_prefect: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a workspace to its end; with `check`, fail where it exits with anything but 0."""
    environment = make_environment(own_prefect=own_prefect)
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_{field}": "test@example.com" for field in ("NAME", "EMAIL")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    program, *rest = command
    words = [DVC if program == "dvc" else program, *rest]
    if rest[:1] == ["repro"] or rest[:2] == ["exp", "run"]:
        environment["PATH"] = f"{write_forked_scripts()}{os.pathsep}{environment['PATH']}"
    with start_process(words, root, environment, text=True, **pipes) as process:
        stdout, stderr = process.communicate()
    if check and process.returncode:
        raise AssertionError(f"{' '.join(command)} exited {process.returncode}\n{stdout}\n{stderr}")
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


class StartedCommand:
    """A `prefixfleet` command at work, as a terminal starts one: in a process group of its own."""

    def __init__(self, process: Any) -> None:
        self.process = process
        self.stderr = ""
        """What it has written to stderr, as far as it was read."""

    def read_until(self, *words: str) -> None:
        """Read stderr up to the first line that has all of these words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.stderr += line
            if all(word in line for word in words):
                return
        raise AssertionError(f"ended without a line of {words}:\n{self.stderr}")

    def send_to_all(self, number: signal.Signals) -> None:
        """Send a signal to the command and to all processes that it has started, as Ctrl-C on a terminal does."""
        os.killpg(self.process.pid, number)

    def wait(self) -> int:
        """Read the rest and wait for the end; returns the exit status."""
        self.stderr += self.process.communicate(timeout=LIMIT_S)[1]
        return self.process.returncode


@contextmanager
def start_command(root: Path, *arguments: str, own_prefect: bool = False) -> Iterator[StartedCommand]:
    """Start `prefixfleet` with these arguments in a workspace; killed at the end of the block."""
    environment = make_environment(own_prefect=own_prefect)
    command = [PREFIXFLEET, *arguments]
    with start_process(
        command, root, environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield StartedCommand(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def find_free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
