"""Commands as processes of their own without the seconds in which each imports torch, transformers and MLflow.

A server that has imported them forks for each command: see `fork_server`. What it forks is a process like any other:
it has a pid, can be signalled and killed, and writes to the files and pipes that it is given. The workers of
pytest-xdist share one server, which the process that started them has started.
"""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from select import POLLIN, poll
from threading import Thread
from typing import IO, Any, Self

from shifted_clock import LIBRARY, preload_clock

_SERVER = Path(__file__).with_name("fork_server.py")
PROJECT = Path(__file__).resolve().parents[2]
_BIN = Path(sys.executable).parent
_LARGEST_ANSWER = 64
SHARED = "TEST_FORK_SERVER"
"""Variable with the address of the server of all workers of pytest-xdist."""
_READ_AT_START = ("PYTHON", "LD_", "OMP_", "HF_HUB_OFFLINE", "_MLFLOW_STATIC_PREFIX")
"""Variables that start so are read by the interpreter and its libraries before a command's first line."""
_LOOP = "LOOP_SECONDS"
"""Part of the names of variables that Prefect's server reads when it is imported."""
_LIGHT = ("dvc", "prefect", *map(str, (_BIN / "dvc", _BIN / "prefect", PROJECT / "components/data/dvc_commit.py")))
"""Programs and modules that import little: no reason to start the server."""


def start_process(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    *,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    text: bool = False,
    start_new_session: bool = False,
) -> Any:
    """Start a command as `subprocess.Popen` does, with default signals and no input; forked if it can be."""
    streams: dict[str, Any] = {"stdout": stdout, "stderr": stderr, "text": text}
    if can_be_forked(command, env):
        return ForkedProcess(command, cwd, env, start_new_session=start_new_session, **streams)
    more: dict[str, Any] = {"start_new_session": start_new_session, "preexec_fn": reset_signals}
    return subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, **streams, **more)


def run_forked(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str], errors: str, **_: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, as `subprocess.run` does that captures the output as text; forked if it can be."""
    with start_process(command, cwd, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        stdout, stderr = (stream.decode(errors=errors) for stream in process.communicate())
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def reset_signals() -> None:
    """Let a child obey the signals that it inherits as ignored from a job in the background or from nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class ForkedProcess:
    """The part of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        *,
        stdout: IO[bytes] | int | None,
        stderr: IO[bytes] | int | None,
        text: bool,
        start_new_session: bool,
        stdin: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        ends_with_client: bool = False,
    ) -> None:
        self.args, self.returncode = command, None
        self.stdin, no_input = _open_input(stdin, text)
        self.stdout, output = _open_stream(stdout, text, 1)
        self.stderr, errors = (None, output) if stderr == subprocess.STDOUT else _open_stream(stderr, text, 2)
        request = {
            "command": [str(word) for word in command],
            "folder": str(Path(cwd).absolute()),
            "environment": dict(env),
            "new_session": start_new_session,
            "ends_with_client": ends_with_client,
            "descriptors": list(pass_fds),
        }
        self._report = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._report.connect(start_server())
        socket.send_fds(self._report, [json.dumps(request).encode()], [no_input, output, errors, *pass_fds])
        for one in {no_input, output, errors}:
            os.close(one)
        self.pid = int(self._report.recv(_LARGEST_ANSWER))

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None and self._has_ended(0):
            self._read_end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; returns the exit status."""
        if self.returncode is None:
            if not self._has_ended(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._read_end()
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        """Read stdout and stderr, where they are pipes, to their ends, and wait for that of the process."""
        until_s = None if timeout is None else time.monotonic() + timeout
        read: dict[str, Any] = {}
        streams = {name: stream for name in ("stdout", "stderr") if (stream := getattr(self, name))}
        readers = [
            Thread(target=lambda name=name, stream=stream: read.setdefault(name, stream.read()), daemon=True)
            for name, stream in streams.items()
        ]
        for one in readers:
            one.start()
        for one in readers:
            one.join(None if until_s is None else max(0.0, until_s - time.monotonic()))
            if one.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        for stream in streams.values():
            stream.close()
        self.wait(None if until_s is None else max(0.0, until_s - time.monotonic()))
        return read.get("stdout"), read.get("stderr")

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr):
            if stream:
                stream.close()
        self.wait()

    def _has_ended(self, timeout: float | None) -> bool:
        waiting = poll()  # `select` takes no descriptor above 1023
        waiting.register(self._report, POLLIN)
        return bool(waiting.poll(None if timeout is None else 1000 * timeout))

    def _read_end(self) -> None:
        self.returncode = os.waitstatus_to_exitcode(int(self._report.recv(_LARGEST_ANSWER)))
        self._report.close()


def can_be_forked(command: Sequence[str], env: Mapping[str, str]) -> bool:
    """Return whether the server can fork this command, and importing what it needs is worth the start of the server."""
    program, *options = map(str, command)
    is_python = program == sys.executable and options[:1] in (["-c"], ["-m"], ["-P"])
    is_light = (next(one for one in options if not one.startswith("-")) if is_python else program) in _LIGHT
    has_server = SHARED in os.environ or bool(start_server.cache_info().currsize)
    is_command = is_python or program == str(_BIN / "prefixfleet") or is_light
    return is_command and (has_server or not is_light) and _read_at_start(env) == _read_at_start(_make_environment())


def shift_clock(seconds: int) -> dict[str, str]:
    """Return the variables of a command whose clock is off by `seconds`; none where there is no C compiler."""
    preload = preload_clock(Path(start_server()).parent)
    return {**preload, "TEST_CLOCK_SHIFT_S": str(seconds)} if preload else {}


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    found = {name: value for name, value in env.items() if name.startswith(_READ_AT_START) or _LOOP in name}
    found.setdefault("LD_PRELOAD", "")
    if LIBRARY in (preload := found.get("LD_PRELOAD", "")):  # which the server has loaded
        found["LD_PRELOAD"] = preload.partition(LIBRARY)[2].strip(":")
    first, *_ = found.pop("PYTHONPATH", str(PROJECT)).split(os.pathsep)
    return found | {"code": first}


def _make_environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1"}


def share_server() -> None:
    """Start a server for all processes that this one starts from now on. It imports at the first command."""
    os.environ[SHARED] = start_server()


@cache
def start_server() -> str:
    """Start this process's server, unless there is one to share. Returns the address for requests."""
    if SHARED in os.environ:
        return os.environ[SHARED]
    folder = Path(tempfile.mkdtemp(prefix="fork-server-"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, str(_SERVER), str(listener.fileno())],
            env={**_make_environment(), **preload_clock(folder)},
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            preexec_fn=reset_signals,
            start_new_session=True,
        )

    def stop() -> None:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)

    atexit.register(stop)
    return str(folder / "socket")


def _open_input(source: int, text: bool) -> tuple[Any, int]:
    if source == subprocess.PIPE:
        theirs, own = os.pipe()
        return os.fdopen(own, "w" if text else "wb"), theirs
    return None, os.open(os.devnull, os.O_RDONLY)


def _open_stream(target: IO[bytes] | int | None, text: bool, inherited: int) -> tuple[Any, int]:
    """Return this process's end of a pipe, if `target` is one, and the descriptor for the command."""
    if target == subprocess.PIPE:
        own, theirs = os.pipe()
        return os.fdopen(own, "r" if text else "rb"), theirs
    if isinstance(target, int):
        return None, os.open(os.devnull, os.O_WRONLY)
    return None, os.dup(inherited if target is None else target.fileno())
