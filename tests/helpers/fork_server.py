"""A Python process that imports what the commands import, once, and forks for each command.

Started by `forked_process`: `python fork_server.py FD`. FD is a socket. Each message is a command as JSON, with four
descriptors: its stdin, stdout and stderr, and a pipe to which its pid and then its end (a wait status) are written, a
line each. The server ends when the socket is closed. A command has an environment, a folder, arguments and, if it asks,
a session of its own, and ends as every Python process ends.
"""

import gc
import io
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

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
    "mlflow.pyfunc",
    "pendulum",
    "pydantic_settings",
    "rich.pretty",
    "torch._dynamo",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.gpt2.modeling_gpt2",
)
"""What takes long, and reads nothing of a command's environment. Not Prefect, which reads its settings on import."""
LARGEST_MESSAGE = 1 << 20


def main(descriptor: int) -> None:
    """Import, then fork for each message; returns in the processes of commands only when they have ended."""
    for name in _IMPORTED:
        import_module(name)
    assert "prefect" not in sys.modules
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies of those that report the ends of commands
    requests = socket.socket(fileno=descriptor)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, LARGEST_MESSAGE, 4)
        if not message:
            return
        if not os.fork():
            break
        for one in descriptors:
            os.close(one)
    requests.close()
    request = json.loads(message)
    *streams, report = descriptors
    _fork_and_report(report, streams)
    _set_up(request, streams)
    _run(*request["command"])


def _fork_and_report(report: int, streams: list[int]) -> None:
    """Fork once more and return in the new process; its parent writes its pid and its end to `report`."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # signals to the command's group do not end this process
    pid = os.fork()
    if pid:
        for one in streams:
            os.close(one)
        os.write(report, f"{pid}\n".encode())
        os.write(report, f"{os.waitpid(pid, 0)[1]}\n".encode())
        os._exit(0)
    os.close(report)


def _set_up(request: dict[str, Any], streams: list[int]) -> None:
    """Give this process the streams, the session, the folder and the environment of a command."""
    for number, one in enumerate(streams):
        os.dup2(one, number)
        os.close(one)
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


def _run(program: str, *arguments: str) -> None:
    """Run a script, or what `-m` or `-c` of this interpreter runs."""
    sys.argv = [program, *arguments]
    if program != sys.executable:
        sys.path[0] = str(Path(program).parent)
        runpy.run_path(program, run_name="__main__")
        return
    option, target, *rest = arguments
    sys.argv = [target if option == "-m" else option, *rest]
    sys.path[0] = str(Path.cwd()) if option == "-m" else ""
    if option == "-m":
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        exec(compile(target, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(int(sys.argv[1]))
