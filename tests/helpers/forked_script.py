"""Programs for other programs to start, which let the server of `forked_process` fork a command."""

import os
import sys
import tempfile
from functools import cache
from pathlib import Path

from forked_process import start_server

_PREFIXFLEET = Path(sys.executable).with_name("prefixfleet")

_SCRIPT = """#!{python} -IS
import contextlib, json, os, signal, socket, sys
command = [*{command}, *sys.argv[1:]]
if os.environ.get("LD_PRELOAD") != {preload}:  # the dynamic linker reads it when a program starts
    os.execv(command[0], command)
options = {{"new_session": False, "ends_with_client": True, "descriptors": []}}
request = {{"command": command, "folder": os.getcwd(), "environment": dict(os.environ), **options}}
signals = {{signal.SIGHUP, signal.SIGINT, signal.SIGTERM}}
def pass_on(number, _):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect("{address}")
    socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
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
    folder = Path(tempfile.mkdtemp(prefix="scripts-", dir=Path(start_server()).parent))
    write_forked_script(folder / "prefixfleet", str(_PREFIXFLEET))
    return folder


def write_forked_script(path: Path, *command: str) -> None:
    """Write a program that lets the server fork a command, for other programs to start.

    The process that they start passes SIGHUP, SIGINT and SIGTERM on and ends as the command does. The command is
    killed when that process is killed.
    """
    text = _SCRIPT.format(
        python=sys.executable, command=command, preload=repr(os.environ.get("LD_PRELOAD")), address=start_server()
    )
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
