"""A worker's signs of life: a small JSON in the exchange, written every few seconds by a thread of its own.

The parent sees the counter grow; it compares no clocks. Does not know what the worker does.
"""

import os
import socket
import threading
from types import TracebackType
from typing import Self

from components.errors import PrefixFleetError
from components.stages.progress import log_warning
from components.stages.sharding.messages import HEARTBEAT, Heartbeat
from components.storage.exchange import ExchangeFolder

_BEATS_BEFORE_LOST = 6
_MAX_INTERVAL_S = 15.0


def describe_worker() -> str:
    """Return host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def compute_interval_s(lost_seconds: float) -> float:
    """Return the seconds between two heartbeats, of which several may fail before the worker counts as lost."""
    return min(lost_seconds / _BEATS_BEFORE_LOST, _MAX_INTERVAL_S)


class Heartbeats:
    """The thread. Use it as a context: the first heartbeat is written at once, and none after the block."""

    def __init__(self, folder: ExchangeFolder, interval_s: float, device: str) -> None:
        """Write nothing yet."""
        self._folder, self._interval_s = folder, interval_s
        self._content = Heartbeat(counter=0, worker=describe_worker(), device=device, activity="starting")
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let the thread end. Does not wait for a write to a store that does not answer."""
        self._ended.set()
        self._thread.join(timeout=self._interval_s)

    def set_activity(self, activity: str) -> None:
        """Tell what the worker does from now on."""
        with self._lock:
            self._content = self._content.model_copy(update={"activity": activity})

    def set_step(self, tenant: str, step: int) -> None:
        """Tell a tenant's last saved step."""
        with self._lock:
            self._content = self._content.model_copy(update={"steps": {**self._content.steps, tenant: step}})

    def _run(self) -> None:
        while True:
            with self._lock:
                self._content = self._content.model_copy(update={"counter": self._content.counter + 1})
                values = self._content.model_dump(mode="json")
            try:
                self._folder.put_json(HEARTBEAT, values)
            except PrefixFleetError as problem:
                log_warning(f"no heartbeat: {problem}")
            if self._ended.wait(self._interval_s):
                return
