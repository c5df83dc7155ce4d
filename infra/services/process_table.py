"""What was started: a JSON file with the process of each service. Another command ends exactly these."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from components.storage.atomic_files import write_atomic
from infra.services.processes import StartedProcess, is_running

TABLE_FILE = "processes.json"


class StartedService(BaseModel):
    """A service that was started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    process: StartedProcess
    stop_signal: int
    is_ready: bool = False
    """Whether it was ready once, and all was done that follows."""


_CONTENT = TypeAdapter(dict[str, StartedService])


class ProcessTable:
    """The services by name, in the order of their start."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / TABLE_FILE
        self._services = _CONTENT.validate_json(self._file.read_bytes()) if self._file.exists() else {}

    def list_all(self) -> list[tuple[str, StartedService]]:
        """Return name and process of every service, running or not."""
        return list(self._services.items())

    def find_running(self, name: str) -> StartedService | None:
        """Return a service if its process still runs."""
        service = self._services.get(name)
        return service if service is not None and is_running(service.process) else None

    def add(self, name: str, service: StartedService) -> None:
        """Write down a service that was just started."""
        self._services.pop(name, None)
        self._services[name] = service
        self._save()

    def mark_ready(self, name: str) -> None:
        """Write down that a service is ready."""
        self._services[name] = self._services[name].model_copy(update={"is_ready": True})
        self._save()

    def remove(self, name: str) -> None:
        """Forget a service that has ended."""
        self._services.pop(name, None)
        self._save()

    def _save(self) -> None:
        write_atomic(self._file, _CONTENT.dump_json(self._services, indent=2))
