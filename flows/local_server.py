"""Prefect's server for the duration of one command, where the user has named none (PREFECT_API_URL).

It runs in a process and a session of its own, so that Ctrl-C, a closed terminal or a service manager's SIGTERM, which
reach all processes of a command, do not end it before the flow has reported its end. It ends when this process ends,
in whatever way: it reads a pipe that then closes. Must start before Prefect is imported, which reads the address.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from components.errors import WorkspaceError
from components.storage.atomic_files import convert_disk_errors

ADDRESS_VARIABLE = "PREFECT_API_URL"
LOG_FILE = "server.log"
SERVER_ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""As Prefect starts its own temporary server: no page, no scheduler."""
_POLL_S = 0.1
_STOP_TIMEOUT_S = 10.0
_LOG_TAIL = 20_000


class LocalServer:
    """A started server process."""

    def __init__(self, home: Path) -> None:
        """Start the process with its files in `home`; `wait` until it answers.

        Raises:
            WorkspaceError: the disk is full.
        """
        self.home, self.log = home, home / LOG_FILE
        with convert_disk_errors(f"make {home}"):
            home.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            with _open_log(self.log) as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "flows.server_process", str(listener.fileno())],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, **SERVER_ENVIRONMENT},
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                )
        atexit.register(self.stop)

    def wait(self, timeout_s: float) -> None:
        """Wait until the server answers.

        Raises:
            WorkspaceError: it ends before that, or does not answer in time.
        """
        import httpx

        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s and self._process.poll() is None:
            try:
                if httpx.get(f"{self.address}/health", timeout=1).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(_POLL_S)
        raise self.make_error(f"no answer within {timeout_s:.0f} s")

    def make_error(self, problem: str) -> WorkspaceError:
        """Return the error of a flow that met `problem`: if the server has ended, that is the reason."""
        code = self._process.poll()
        if code is not None:
            end = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            problem = f"the server ended ({end}){self._read_last_line()}"
        fix = f"run again; if it happens again, read {self.log}, or start a server and set {ADDRESS_VARIABLE}"
        return WorkspaceError(f"a local Prefect server with files in {self.home}", problem, fix)

    def stop(self) -> None:
        """End the server by closing its pipe, and wait for that; kill it if it does not end."""
        if self._process.stdin is None or self._process.stdin.closed:
            return
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read_last_line(self) -> str:
        try:
            lines = self.log.read_bytes()[-_LOG_TAIL:].decode(errors="replace").split("\n")
        except OSError:
            return ""
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f": {last}" if last else ""


def _open_log(path: Path) -> IO[bytes]:
    """Open the log for writing; if the disk refuses, the server's output is dropped."""
    try:
        return path.open("wb")
    except OSError:
        return Path(os.devnull).open("wb")
