"""An MLflow server on this machine, with a count of the calls that it answered from its access log."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

_START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class MlflowServer:
    """A running MLflow server."""

    uri: str
    log_path: Path

    def count_calls(self) -> int:
        """Return the number of calls that it has answered, without health checks."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return sum('HTTP/1.1"' in line and "/health" not in line for line in lines)


@contextmanager
def run_mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Start a server with one worker and its files in `folder`; stop it after the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = MlflowServer(f"http://127.0.0.1:{port}", folder / "server.log")
    address = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    stores = ("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/store")
    with server.log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *address, *stores],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + _START_TIMEOUT_S
        while not _is_answering(server.uri):
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"MLflow's server does not start; see {server.log_path}")
            time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait()


def _is_answering(uri: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"{uri}/health", timeout=1).ok
    return False
