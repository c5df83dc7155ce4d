"""The model servers, the console and their memory. Knows processes; does not know what is asked of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from load_balancer import PROGRAM as NGINX
from load_balancer import balance_load
from processes import find_free_port
from prometheus_server import PROMETHEUS, run_prometheus

from compressed_day.watch import Watch

__all__ = ["NGINX", "PROMETHEUS", "MemoryWatch", "Program", "balance_load", "run_prometheus"]

_START_TIMEOUT_S = 600.0
_STOP_TIMEOUT_S = 120.0
_MEMORY_PAUSE_S = 2.0


class Program:
    """A `prefixfleet` command that serves HTTP on a port of its own; it may be ended and started again."""

    def __init__(
        self, name: str, root: Path, words: Sequence[str], ready: str, environment: Mapping[str, str], logs: Path
    ) -> None:
        """`ready`: the path that answers 200 once it can work."""
        self.name, self.port = name, find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._root, self._words, self._ready, self._environment = root, words, ready, dict(environment)
        self.log = logs / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start it, and wait until it is ready."""
        command = [sys.executable, "-m", "cli.main", "-C", str(self._root), *self._words, "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, stdout=log, env=self._environment)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it is ready. Ends the benchmark if it ends before."""
        until_s = time.monotonic() + _START_TIMEOUT_S
        while not self._is_ready():
            if not self.is_alive() or time.monotonic() > until_s:
                raise SystemExit(f"{self.name} does not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}{self._ready}", timeout=60).status_code == 200
        except httpx.HTTPError:
            return False

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; return its exit status."""
        if self._process is None:
            return 0
        if self.is_alive():
            os.kill(self.pid, number)
        return self._process.wait(_STOP_TIMEOUT_S)

    def read_health(self) -> dict[str, Any]:
        """Return the content of /healthz."""
        health: dict[str, Any] = httpx.get(f"{self.url}/healthz", timeout=60).json()
        return health


class MemoryWatch(Watch):
    """Reads the resident memory of programs."""

    def __init__(self, programs: Sequence[Program]) -> None:
        super().__init__(self._read, _MEMORY_PAUSE_S)
        self._programs = programs
        self._samples: dict[tuple[str, int], list[tuple[float, int]]] = {}
        """(name, pid) -> (time, bytes)."""

    def measure_slopes(self, settling_s: float, least_s: float) -> dict[str, tuple[float, float, float]]:
        """Return name -> MB at the end, MB per minute, and minutes, of each program's longest life.

        The growth is the median of its minutes: a leak grows in each, while more requests at once than ever before are
        one step. The first `settling_s` of a life are left out; a life of less than `least_s` after that is not in the
        result.
        """
        slopes: dict[str, tuple[float, float, float]] = {}
        for (name, _), samples in self._samples.items():
            settled = [one for one in samples if one[0] >= samples[0][0] + settling_s]
            minutes = (settled[-1][0] - settled[0][0]) / 60 if settled else 0.0
            if minutes * 60 >= least_s and minutes > slopes.get(name, (0.0, 0.0, 0.0))[2]:
                slopes[name] = settled[-1][1] / 1e6, _measure_median_growth(settled) / 1e6, minutes
        return slopes

    def _read(self) -> None:
        for program in self._programs:
            if program.is_alive() and (resident := _read_resident_bytes(program.pid)):
                self._samples.setdefault((program.name, program.pid), []).append((time.monotonic(), resident))


def _measure_median_growth(samples: Sequence[tuple[float, int]]) -> float:
    """Return the median of the bytes by which each minute's last sample is above the one of the minute before."""
    by_minute = {int((at_s - samples[0][0]) // 60): size for at_s, size in samples}
    return median(second - first for first, second in pairwise(by_minute.values()))


def _read_resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
