"""A Prefect server in a process of its own, and copies of its database."""

import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from processes import PREFECT, make_environment
from waiting import LIMIT_S, wait_until

_UNUSED_SERVICES = ("CANCELLATION_CLEANUP", "FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "SCHEDULER", "TRIGGERS")
FEW_SERVICES = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _UNUSED_SERVICES}
"""Settings of a server that schedules nothing; it still records runs, logs, artifacts and events."""


@contextmanager
def run_prefect_server(home: Path, port: int, settings: Mapping[str, str]) -> Iterator[str]:
    """Start a server on the files in `home` and wait until it answers; yields its API's address, then stops it."""
    url = f"http://127.0.0.1:{port}/api"
    environment = {**make_environment(own_prefect=True), "PREFECT_HOME": str(home), **settings}
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def answers() -> bool:
        assert process.poll() is None, (home / "server.log").read_text(errors="replace")
        try:
            return httpx.get(f"{url}/health").is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, "Prefect's server")
        yield url
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def copy_database(source: Path, target: Path) -> None:
    """Copy the database of the server in the folder `source`, which may be running, to the folder `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with (
        closing(sqlite3.connect(source / "prefect.db")) as original,
        closing(sqlite3.connect(target / "prefect.db")) as copy,
    ):
        original.backup(copy)
