"""A Python process that imports what the commands import, at the first command, and forks for each command.

Started by `forked_process`: `python fork_server.py FD`. FD is a listening socket. On each connection it gets a command
as JSON with the descriptors of its stdin, stdout and stderr, and answers with the command's pid and then, when it has
ended, with its wait status. The server ends when its standard input is closed. A command has an environment, a folder,
arguments, more descriptors and, if it asks, a session of its own, and ends as every Python process ends; if
it asks, also when whoever asked for it is gone. What it starts itself is forked too: see `forked_children`.

`python fork_server.py FD workers`, forked by such a server, is one that has imported what the tests import as well: see
`forked_workers`.
"""

import atexit
import io
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from select import select
from types import ModuleType
from typing import Any

import forked_children
import late_prefect
from forked_process import SHARED
from forked_workers import collecting_no_garbage, import_for_tests

_IMPORTED = (
    "components.evaluation.report",
    "components.model.base.load",
    "components.model.decoding",
    "components.registry.registry",
    "components.serving.http.server",
    "components.stages.register",
    "components.training.loop",
    "dvc.commands.repro",
    "dvc.repo",
    "griffe",
    "httpx",
    "jsonschema",
    "mlflow.cli",
    "mlflow.pyfunc",
    "pendulum",
    "pydantic_settings",
    "rich.pretty",
    "s3fs",
    "torch._dynamo",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.gpt2.modeling_gpt2",
)
"""What takes long, and reads nothing of a command's environment."""
LARGEST_MESSAGE = 1 << 20
_MOST_DESCRIPTORS = 8
_FLAGS = ("-B", "-P", "-u")
"""Of Python, before `-m`, `-c` or a script; multiprocessing passes `-B` on."""
_READS_ENVIRONMENT = "mlflow.server"
"""What `mlflow.cli` imports too, and the process that serves must import itself."""


def main(descriptor: int, *, for_workers: bool) -> None:
    """Fork for each message, and import before the first; returns in commands' processes only when they have ended."""
    listener = socket.socket(fileno=descriptor)
    address = listener.getsockname()
    is_first = True
    while sys.stdin not in select([sys.stdin, listener], [], [])[0]:
        if is_first:
            (import_for_tests if for_workers else _import_all)()
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies of those that report the ends of commands
            is_first = False
        connection, _ = listener.accept()
        message, streams, _, _ = socket.recv_fds(connection, LARGEST_MESSAGE, _MOST_DESCRIPTORS)
        if message and not os.fork():
            break
        for one in (*streams, connection.detach()):
            os.close(one)
    else:
        return
    listener.close()
    request = json.loads(message)
    _fork_and_report(connection, streams, ends_with_client=request["ends_with_client"])
    _set_up(request, streams)
    if not for_workers:
        os.environ[SHARED] = address
        forked_children.fork_children(leads_session=request["new_session"])
    _run_to_end(*request["command"])


def _import_all() -> None:
    with collecting_no_garbage():
        for name in (*_IMPORTED, *forked_children.STARTERS):
            import_module(name)
        for name in [name for name in sys.modules if name.startswith(_READS_ENVIRONMENT)]:
            del sys.modules[name]
        assert "prefect" not in sys.modules
        late_prefect.import_and_hide()


def _fork_and_report(report: socket.socket, streams: list[int], *, ends_with_client: bool) -> None:
    """Fork once more and return in the new process; its parent reports its pid and its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # signals to the command's group do not end this process
    pid = os.fork()
    if pid:
        for one in streams:
            os.close(one)
        with suppress(BrokenPipeError):  # nobody waits for it
            report.send(str(pid).encode())
        end = os.pidfd_open(pid)
        if ends_with_client and end not in select([report, end], [], [])[0]:
            os.kill(pid, signal.SIGKILL)
        with suppress(BrokenPipeError):
            report.send(str(os.waitpid(pid, 0)[1]).encode())
        os._exit(0)
    report.close()


def _set_up(request: dict[str, Any], streams: list[int]) -> None:
    """Give this process the streams and other descriptors, the session, the folder and the environment of a command."""
    numbers = [0, 1, 2, *request["descriptors"]]
    spare = 1 + max(*numbers, *streams)
    for place, one in enumerate(streams):  # first out of the way of the numbers that they get
        os.dup2(one, spare + place)
        os.close(one)
    for place, number in enumerate(numbers):
        os.dup2(spare + place, number)
        os.close(spare + place)
    if request["new_session"]:
        os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    tempfile.tempdir = None
    for name in ("stdout", "stderr"):
        old = getattr(sys, name)
        raw = io.BufferedWriter(io.FileIO(old.fileno(), "w", closefd=False))
        new = io.TextIOWrapper(raw, old.encoding, old.errors, line_buffering=old.line_buffering)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def _run_to_end(*command: str) -> None:
    """Run a command and end as Python ends, but do not destroy the imported modules, which takes 0.6 s."""
    code, is_interrupted = 0, False
    try:
        _run(*command)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
    except BaseException as problem:  # noqa: BLE001
        code, is_interrupted = 1, isinstance(problem, KeyboardInterrupt)
        sys.excepthook(*sys.exc_info())
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    if is_interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


def _run(program: str, *arguments: str) -> None:
    """Run a script, or what `-m` or `-c` of this interpreter runs."""
    sys.argv = [program, *arguments]
    if program != sys.executable:
        sys.path[0] = str(Path(program).parent)
        runpy.run_path(program, run_name="__main__")
        return
    flags = list(takewhile(_FLAGS.__contains__, arguments))
    is_safe = "-P" in flags
    option, *rest = arguments[len(flags) :]
    if option not in ("-c", "-m"):
        sys.argv = [option, *rest]
        if is_safe:
            del sys.path[0]
        else:
            sys.path[0] = str(Path(option).parent)
        runpy.run_path(option, run_name="__main__")
        return
    target, *rest = rest
    sys.argv = [target if option == "-m" else option, *rest]
    if is_safe:
        del sys.path[0]
    else:
        sys.path[0] = str(Path.cwd()) if option == "-m" else ""
    if option == "-m":
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(compile(target, "<string>", "exec"), vars(module))


if __name__ == "__main__":
    main(int(sys.argv[1]), for_workers=sys.argv[2:] == ["workers"])
