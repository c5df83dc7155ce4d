"""A PostgreSQL server of one's own on loopback, for as long as a block lasts; needs initdb and pg_ctl on the path."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

NOBODY_UID = 65534


def is_installed() -> bool:
    """Whether this machine has PostgreSQL."""
    return bool(shutil.which("initdb") and shutil.which("pg_ctl"))


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Start an empty one; yields its URL. It runs as nobody where we are root, as it insists."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory(prefix="prefixfleet-") as name:
        place = Path(name)
        folder, options = place / "data", f"-p {port} -c listen_addresses=127.0.0.1 -k {place}"
        if os.geteuid() == 0:
            os.chown(place, NOBODY_UID, NOBODY_UID)
        _run_command(place, "initdb", "-D", str(folder), "-U", "ada", "-A", "trust", "--no-sync")
        _run_command(place, "pg_ctl", "-D", str(folder), "-w", "-l", str(place / "log"), "-o", options, "start")
        try:
            yield f"postgresql://ada@127.0.0.1:{port}/postgres"
        finally:
            _run_command(place, "pg_ctl", "-D", str(folder), "-m", "immediate", "stop")


def _run_command(place: Path, *command: str) -> None:
    nobody = ["setpriv", f"--reuid={NOBODY_UID}", "--clear-groups"] if os.geteuid() == 0 else []
    environment = {**os.environ, "LC_ALL": "C"}
    subprocess.run([*nobody, *command], check=True, stdout=subprocess.DEVNULL, cwd=place, env=environment)
