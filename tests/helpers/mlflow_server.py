"""`mlflow server` in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests
from forked_process import start_process
from waiting import wait_until

_STOP_SECONDS = 20


@contextmanager
def run_server(database: Path, store: str, prefix: str = "", **environment: str) -> "Iterator[MlflowServer]":
    """Start a server with these environment variables, wait until it answers, and stop it after the block.

    `prefix` is the path below which it answers.
    """
    server = MlflowServer(database, store, environment, prefix)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


class MlflowServer:
    """A server on an SQLite file, which also serves the artifacts in `store`."""

    def __init__(self, database: Path, store: str, environment: Mapping[str, str], prefix: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.store = store
        self.uri = f"http://127.0.0.1:{port}{prefix}"
        address = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
        stores = ("--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", store)
        place = ("--static-prefix", prefix) if prefix else ()
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        self._process = start_process(
            [sys.executable, "-m", "mlflow", "server", *address, *stores, *place],
            database.parent,
            {**inherited, "HF_HUB_OFFLINE": "1", **quiet, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        wait_until(self._is_healthy, "mlflow server to answer")

    def _is_healthy(self) -> bool:
        assert self._process.poll() is None, f"mlflow server exited with {self._process.poll()}"
        try:
            return requests.get(f"{self.uri}/health", timeout=2).ok
        except requests.RequestException:
            return False

    def stop(self) -> None:
        """End the server and its workers, which share its process group."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
