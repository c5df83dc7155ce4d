"""A temporary PostgreSQL server on the loopback interface; needs initdb and pg_ctl on PATH."""

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
    """Return whether this machine has PostgreSQL."""
    return bool(shutil.which("initdb") and shutil.which("pg_ctl"))


@contextmanager
def run_postgresql() -> Iterator[str]:
    """Start an empty server and yield its URL. Root starts it as user nobody, since PostgreSQL refuses root."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with TemporaryDirectory(prefix="prefixfleet-") as name:
        root = Path(name)
        folder, options = root / "data", f"-p {port} -c listen_addresses=127.0.0.1 -k {root}"
        if os.geteuid() == 0:
            os.chown(root, NOBODY_UID, NOBODY_UID)
        _run_command(root, "initdb", "-D", str(folder), "-U", "ada", "-A", "trust", "--no-sync")
        _run_command(root, "pg_ctl", "-D", str(folder), "-w", "-l", str(root / "log"), "-o", options, "start")
        try:
            yield f"postgresql://ada@127.0.0.1:{port}/postgres"
        finally:
            _run_command(root, "pg_ctl", "-D", str(folder), "-m", "immediate", "stop")


def _run_command(folder: Path, *command: str) -> None:
    as_nobody = ["setpriv", f"--reuid={NOBODY_UID}", "--clear-groups"] if os.geteuid() == 0 else []
    environment = {**os.environ, "LC_ALL": "C"}
    subprocess.run([*as_nobody, *command], check=True, stdout=subprocess.DEVNULL, cwd=folder, env=environment)
