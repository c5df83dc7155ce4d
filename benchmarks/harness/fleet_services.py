"""The services and workers of `make services`, on free ports in a folder of a benchmark's own."""

import json
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.checkouts import PROJECT

_LEFT_OUT = ("serve", "worker cpu-1")
"""Services of `make services` that no benchmark needs."""
_WORKER = "worker "
_PORTS = ("postgresql_port", "s3_port", "mlflow_port", "prefect_port", "serve_port", "ceph_monitor_port")


class FleetServices:
    """The running services: what their clients need, and how one of them is ended and started again."""

    def __init__(self, settings: Any, services: Sequence[Any], table: Any, environment: dict[str, str]) -> None:
        self._settings, self._table = settings, table
        self._services = {one.name: one for one in services}
        self.environment = environment
        """The whole environment of a client's process."""
        self.mlflow_database = str(self._services["mlflow"].environment["MLFLOW_BACKEND_STORE_URI"])
        """URL of the database below MLflow."""
        has_ceph = "ceph-monitor" in self._services
        self.moto_file = None if has_ceph else settings.folder / "s3" / "objects.zip"
        """The file that moto reads at its start, if moto is the S3 server."""

    def list_processes(self) -> dict[str, int]:
        """Return service -> id of its process."""
        return {name: service.process.pid for name, service in self._table.list_all()}

    def end(self, name: str, number: int | None = None) -> None:
        """End a service by its stop signal, or by this one, and all its processes."""
        from infra.services.processes import end_process

        running = self._table.find_running(name)
        end_process(running.process, running.stop_signal if number is None else number, timeout_s=60.0)
        self._table.remove(name)

    def start(self, name: str) -> None:
        """Start a service that was ended, and wait until it is ready."""
        from infra.services.start import start_services

        start_services(self._settings, [[self._services[name]]], self._table, lambda _: None)

    def get_pid(self, name: str) -> int:
        """Return the number of a running service's process."""
        return int(self._table.find_running(name).process.pid)


def _leave_unchanged(service: Any, _: int) -> Any:
    return service


@contextmanager
def make_scratch() -> Iterator[Path]:
    """Make a temporary folder that other users can enter, since PostgreSQL does not run as root."""
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)
        yield Path(scratch)


@contextmanager
def run_fleet_services(
    folder: Path, workers: int, change_worker: Callable[[Any, int], Any] = _leave_unchanged
) -> Iterator[FleetServices]:
    """Start the services with this number of training workers (may be 0); they are stopped at the end of the block.

    `change_worker` gets the `Service` of a training worker and its number from 0, and returns what is started instead.
    """
    sys.path.insert(0, str(PROJECT))
    from infra.services.addresses import make_client_environment
    from infra.services.catalogue import list_services
    from infra.services.process_table import ProcessTable
    from infra.services.secret_file import read_secrets
    from infra.services.settings import read_settings
    from infra.services.start import start_services, stop_services

    folder.mkdir(parents=True, exist_ok=True)
    settings = read_settings(folder / "services").model_copy(
        update={"gpu_workers": max(1, workers), **_choose_ports(folder / "ports.json")}
    )
    secrets = read_secrets(settings.folder)
    waves = [[one for one in wave if one.name not in _LEFT_OUT] for wave in list_services(settings, secrets)]
    training = [one for wave in waves for one in wave if one.name.startswith(_WORKER)]
    changed = {one.name: change_worker(one, number) for number, one in enumerate(training)} if workers else {}
    started = [[changed.get(one.name, one) for one in wave if workers or one not in training] for wave in waves]
    table = ProcessTable(settings.folder)
    try:
        start_services(settings, started, table, lambda line: print(line, file=sys.stderr, flush=True))
        environment = make_client_environment(settings, secrets, folder / "prefect")
        yield FleetServices(settings, [one for wave in started for one in wave], table, environment)
    finally:
        stop_services(table, lambda _: None)


def _choose_ports(file: Path) -> dict[str, int]:
    """Return the ports that a kept folder has used before, since its workspaces name them, or free ones."""
    if not file.exists():
        file.write_text(json.dumps(dict(zip(_PORTS, _find_free_ports(len(_PORTS)), strict=True))))
    ports: dict[str, int] = json.loads(file.read_text())
    return ports


def _find_free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
