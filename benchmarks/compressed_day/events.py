"""What happens in a day, in its order: two nights, a dead worker, a killed server, a restart of each part, a full disk.

Each event is written down with its time and its result. Does not judge them: the modules `..._promises` do.
"""

import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from harness.fleet_services import FleetServices

from compressed_day.commands import Commands, Ended
from compressed_day.servers import Program
from compressed_day.small_disk import SmallDisk
from compressed_day.texts import write_drops
from compressed_day.traffic import Exchange, Traffic

_WORKER = "worker gpu-1"
_TRAINING_SHARD = re.compile(r"training \d+/\d+ on \S+:(\d+)")
_DATABASE_DOWN_S = 10.0
_EVENING_TENANTS = 3
_LONGEST_EVENT = 0.25
"""Of the day; on a slow machine, an event that takes longer delays those after it."""


@dataclass
class Day:
    """A day that runs, and what is known about it so far."""

    root: Path
    services: FleetServices
    commands: Commands
    servers: Sequence[Program]
    disk: SmallDisk
    traffic: Traffic
    changed: Sequence[str]
    bad: str
    """The tenant whose new data are wrong."""
    seconds: float
    started_s: float = 0.0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    nights: dict[str, Ended] = field(default_factory=dict)
    """Name -> the retraining."""
    killed: list[tuple[str, float, list[Exchange]]] = field(default_factory=list)
    """Server that was killed, when, and the requests in flight."""
    outages: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Part that was away -> from when to when."""
    is_worker_killed: bool = False
    restarts: int = 0
    evening: Sequence[str] = ()
    """Tenants with new data in the evening."""
    _late_s: float = 0.0

    def run(self) -> None:
        """Let everything happen; the traffic runs beside it."""
        self.started_s, self.started_at = time.monotonic(), datetime.now(UTC)
        plan: list[tuple[float, Callable[[], None]]] = [
            (0.03, self._run_night),
            (0.35, self._kill_server),
            (0.45, self._restart_database),
            (0.60, self._fill_disk),
            (0.80, self._restart_servers),
        ]
        for share, event in plan:
            self._wait_for(share)
            self.tell(event.__name__.strip("_").replace("_", " "))
            event()
            self._late_s = max(self._late_s, self._get_elapsed() - (share + _LONGEST_EVENT) * self.seconds)
        self._wait_for(1.0)

    def tell(self, what: str) -> None:
        """Print a line with the time of the day."""
        minutes = 24 * 60 * self._get_elapsed() / self.seconds
        print(f"  {int(minutes // 60):02}:{int(minutes % 60):02}  {what}", flush=True)

    def _get_elapsed(self) -> float:
        return time.monotonic() - self.started_s

    def _wait_for(self, share: float) -> None:
        """Wait for this share of the day; it is later by as much as an event took longer than it may."""
        time.sleep(max(0.0, share * self.seconds + self._late_s - self._get_elapsed()))

    def _run_night(self) -> None:
        """New data for the changed tenants; one of two workers dies in the middle of a shard, and is started again."""
        write_drops(self.root, self.changed, self.bad, seed=1)
        started_s = time.monotonic()
        process, log = self.commands.start("retrain")
        while process.poll() is None:
            if not self.is_worker_killed and self._trains_on_worker(log):
                self.services.end(_WORKER, signal.SIGKILL)
                self.is_worker_killed = True
                self.tell(f"{_WORKER} killed in the middle of a shard")
                self.services.start(_WORKER)
            time.sleep(0.1)
        self.nights["night"] = Ended("retrain", process.returncode, log.read_text(), started_s, time.monotonic())
        self.tell(f"night: exit code {process.returncode}: {_get_last_line(log.read_text())}")

    def _trains_on_worker(self, log: Path) -> bool:
        """Return whether the worker trains; each shard has a process of its own, a descendant of the worker."""
        worker = self.services.get_pid(_WORKER)
        shards = set(map(int, _TRAINING_SHARD.findall(log.read_text())))
        return any(child.pid in shards for child in psutil.Process(worker).children(recursive=True))

    def _kill_server(self) -> None:
        """SIGKILL, as the kernel does when memory is short; a supervisor starts it again."""
        server = self.servers[0]
        in_flight = list(self.traffic.in_flight.values())
        server.end(signal.SIGKILL)
        self.killed.append((server.name, time.monotonic(), in_flight))
        server.start()

    def _restart_database(self) -> None:
        """PostgreSQL ends and comes back: MLflow, Prefect, the ledger, keys and trials are on it."""
        started_s = time.monotonic()
        self.services.end("postgresql")
        time.sleep(_DATABASE_DOWN_S)
        self.services.start("postgresql")
        self.outages["database"] = started_s, time.monotonic()

    def _fill_disk(self) -> None:
        """The disk of workspace, servers and workers is full while a night begins; later the night runs again."""
        self.commands.run("pin", self.bad)  # as whoever is on call does after a rollback
        self.evening = [one for one in self.traffic.tenants if one not in self.changed][:_EVENING_TENANTS]
        write_drops(self.root, self.evening, None, seed=2)
        started_s = time.monotonic()
        self.disk.fill()
        self.nights["night on a full disk"] = self.commands.run("retrain")
        time.sleep(max(0.0, started_s + min(60.0, self.seconds / 20) - time.monotonic()))
        self.disk.free()
        self.outages["disk"] = started_s, time.monotonic()
        self.tell("the disk has space again")
        evening = self.nights["night after it"] = self.commands.run("retrain")
        self.tell(f"night after it: exit code {evening.code}: {_get_last_line(evening.printed)}")

    def _restart_servers(self) -> None:
        """As an upgrade does: SIGTERM, start, wait until it is ready, then the next."""
        for server in self.servers:
            server.end()
            server.start()
            self.restarts += 1


def _get_last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
