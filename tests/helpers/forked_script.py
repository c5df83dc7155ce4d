"""Programs for other programs to start, which let the server of `forked_process` fork a command."""

import os
import sys
import tempfile
from functools import cache
from pathlib import Path

from forked_process import shift_clock, start_server

_PREFIXFLEET = Path(sys.executable).with_name("prefixfleet")

_SCRIPT = """#!{python} -IS
import contextlib, json, os, signal, socket, sys
command = [*{command}, *sys.argv[1:]]
code = command[command.index("-c") + 1] if "-c" in command else ""
is_light = "multiprocessing.resource_tracker" in code
if is_light or os.environ.get("LD_PRELOAD", "") not in {preloads}:  # the dynamic linker reads it when a program starts
    os.execv(command[0], command)
descriptors = []
if "multiprocessing.spawn" in code:  # which gives its processes more descriptors
    open_ones = os.listdir("/proc/self/fd")
    descriptors = [int(one) for one in open_ones if int(one) > 2 and os.path.exists(f"/proc/self/fd/{{one}}")]
options = {{"new_session": False, "ends_with_client": True, "descriptors": descriptors}}
request = {{"command": command, "folder": os.getcwd(), "environment": dict(os.environ), **options}}
signals = {{signal.SIGHUP, signal.SIGINT, signal.SIGTERM}}
def pass_on(number, _):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect("{address}")
    socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2, *descriptors])
    pid = int(server.recv(64))
    for one in signals:
        signal.signal(one, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    code = os.waitstatus_to_exitcode(int(server.recv(64)))
if code < 0:
    if -code in signals:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@cache
def write_forked_scripts() -> Path:
    """Write a `prefixfleet` that is forked by the server, for a folder that is first on PATH; returns the folder."""
    folder = _make_folder()
    write_forked_script(folder / "prefixfleet", str(_PREFIXFLEET))
    return folder


@cache
def write_forked_python() -> Path:
    """Write a program that runs what this interpreter runs with the same arguments, forked by the server.

    It takes `-m`, `-c` or a script, after `-B`, `-P` or `-u`. torchrun starts it instead of Python where PYTHON_EXEC
    names it; `multiprocessing.set_executable` lets processes of the method "spawn" be started by it.
    """
    program = _make_folder() / "python"
    write_forked_script(program, sys.executable)
    return program


def _make_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="scripts-", dir=Path(start_server()).parent))


def write_forked_script(path: Path, *command: str, server: str | None = None) -> None:
    """Write a program that lets a server, by default this process's, fork a command, for other programs to start.

    The process that they start passes SIGHUP, SIGINT and SIGTERM on and ends as the command does. The command is
    killed when that process is killed.
    """
    preloads = {os.environ.get("LD_PRELOAD", ""), shift_clock(0).get("LD_PRELOAD", "")}
    address = server or start_server()
    text = _SCRIPT.format(python=sys.executable, command=command, preloads=preloads, address=address)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
