"""Start the services that do not run, in their order, and end them again. Knows no particular service."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from components.errors import WorkspaceError
from infra.services.process_table import ProcessTable, StartedService
from infra.services.processes import end_process, start_process
from infra.services.service import Service, is_port_free
from infra.services.settings import Settings

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0
_POLL_S = 0.3
_LOG_LINES = 15


def start_services(
    settings: Settings, waves: Sequence[Sequence[Service]], table: ProcessTable, report: Callable[[str], None]
) -> bool:
    """Start what does not run; the services of a wave start together, after those of the wave before are ready.

    Returns whether there was anything to do. `report` is called with a line for each service.

    Raises:
        WorkspaceError: a port is in use, or a service ended at its start or is not ready in time. The others go on.
    """
    _check_ports(settings, [one for wave in waves for one in wave if table.find_running(one.name) is None])
    was_idle = True
    for wave in waves:
        for service in wave:
            if table.find_running(service.name) is None:
                _start(settings, service, table)
        for service in wave:
            running = table.find_running(service.name)
            if running is None or not running.is_ready:
                _wait_until_ready(settings, service, table)
                service.finish()
                table.mark_ready(service.name)
                report(f"{service.name}: ready")
                was_idle = False
    return not was_idle


def stop_services(table: ProcessTable, report: Callable[[str], None]) -> None:
    """End the processes in the table and their children, the last started first."""
    for name, service in reversed(table.list_all()):
        if end_process(service.process, service.stop_signal, STOP_TIMEOUT_S):
            report(f"{name}: ended")
        table.remove(name)


def get_log_file(settings: Settings, name: str) -> Path:
    """Return the file with a service's output."""
    return settings.logs / f"{name.replace(' ', '-')}.log"


def _check_ports(settings: Settings, services: Sequence[Service]) -> None:
    ports = [pair for one in services for pair in one.ports.items()]
    busy = [f"{variable}={port}" for variable, port in ports if not is_port_free(port)]
    if busy:
        got = f"in use by another process: {', '.join(busy)}"
        raise WorkspaceError("free ports for the services", got, f"end it, or set another port in {settings.file}")


def _start(settings: Settings, service: Service, table: ProcessTable) -> None:
    service.prepare()
    process = start_process(service.command, service.environment, service.folder, get_log_file(settings, service.name))
    table.add(service.name, StartedService(process=process, stop_signal=service.stop_signal))


def _wait_until_ready(settings: Settings, service: Service, table: ProcessTable) -> None:
    until_s = time.monotonic() + START_TIMEOUT_S
    while True:
        running = table.find_running(service.name)
        if running is not None and service.is_ready(running.process.pid):
            return
        if running is None or time.monotonic() > until_s:
            problem = "it ended" if running is None else f"no answer within {START_TIMEOUT_S:.0f} s"
            log = get_log_file(settings, service.name)
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
            got = "\n".join([f"{problem}; the end of {log}:", *(f"  {line}" for line in lines)])
            fix = "correct what it names, and run `make services` again; `make services-stop` ends the others"
            raise WorkspaceError(f"{service.name} to start", got, fix)
        time.sleep(_POLL_S)
