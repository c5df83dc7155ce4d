"""A Prefect server in a process of its own, and copies of its database."""

import fcntl
import http.client
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from forked_process import start_process
from processes import PREFECT, make_environment
from waiting import LIMIT_S, wait_until

_UNUSED_SERVICES = ("CANCELLATION_CLEANUP", "FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "SCHEDULER", "TRIGGERS")
FEW_SERVICES = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _UNUSED_SERVICES}
"""Settings of a server that schedules nothing; it still records runs, logs, artifacts and events."""


@contextmanager
def run_prefect_server(home: Path, port: int, settings: Mapping[str, str]) -> Iterator[str]:
    """Start a server on the files in `home` and wait until it answers; yields its API's address, then stops it."""
    path = settings.get("PREFECT_SERVER_API_BASE_PATH", "/api")
    url = f"http://127.0.0.1:{port}{path}"
    environment = {**make_environment(own_prefect=True), "PREFECT_HOME": str(home), **settings}
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("ab") as log:
        command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        streams = {"stdout": log, "stderr": subprocess.STDOUT}
        process = start_process(command, Path.cwd(), environment, start_new_session=True, **streams)

    def answers() -> bool:
        assert process.poll() is None, (home / "server.log").read_text(errors="replace")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with closing(connection):
            try:
                connection.request("GET", f"{path}/health")
                return connection.getresponse().status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                return False

    try:
        wait_until(answers, "Prefect's server")
        yield url
    finally:
        process.terminate()
        process.wait(LIMIT_S)


@contextmanager
def run_server_from_empty(empty: Path, home: Path, port: int, settings: Mapping[str, str]) -> Iterator[str]:
    """As `run_prefect_server`, on a copy of the tables in the folder `empty`; if it has none, the server makes them.

    One process makes them, others wait for it.
    """
    with (empty / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_made := (empty / "prefect.db").exists():
            copy_database(empty, home)
            fcntl.flock(lock, fcntl.LOCK_UN)
        with run_prefect_server(home, port, settings) as url:
            if not is_made:
                copy_database(home, empty)
                fcntl.flock(lock, fcntl.LOCK_UN)
            yield url


def copy_database(source: Path, target: Path) -> None:
    """Copy the database of the server in the folder `source`, which may be running, to the folder `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with (
        closing(sqlite3.connect(source / "prefect.db")) as original,
        closing(sqlite3.connect(target / "prefect.db.part")) as copy,
    ):
        original.backup(copy)
    (target / "prefect.db.part").rename(target / "prefect.db")
