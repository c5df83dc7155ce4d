"""Divides the time of a device among the rows that it computes together, and adds it up by tenant.

At each moment every row has the same part of the time; a row of several branches has that of so many rows. So the parts
of all rows add up to the time in which the device had a row. Knows rows and seconds; does not know what a device does.
"""

import threading
import time
from collections.abc import Callable, Mapping


class DeviceTime:
    """The time of one device; may be shared by threads."""

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        """`timer` gives monotonic seconds."""
        self._timer, self._lock = timer, threading.Lock()
        self._weight, self._at_s = 0, 0.0
        self._seconds_per_row = 0.0
        """What one row would have got that has been there from the start."""
        self._used_s: dict[str, float] = {}

    def begin(self, weight: int = 1) -> float:
        """Begin a row of `weight` branches; returns a mark for `end`."""
        with self._lock:
            self._advance()
            self._weight += weight
            return self._seconds_per_row

    def end(self, tenant: str, mark: float, weight: int = 1) -> None:
        """End a row; its part of the time since `begin` is its tenant's."""
        with self._lock:
            self._advance()
            self._weight -= weight
            seconds = weight * (self._seconds_per_row - mark)
            self._used_s[tenant] = self._used_s.get(tenant, 0.0) + seconds

    def take(self) -> Mapping[str, float]:
        """Return tenant -> seconds of the rows that have ended since the last call."""
        with self._lock:
            used_s, self._used_s = self._used_s, {}
            return used_s

    def _advance(self) -> None:
        now_s = self._timer()
        if self._weight:
            self._seconds_per_row += (now_s - self._at_s) / self._weight
        self._at_s = now_s


def add_seconds(*parts: Mapping[str, float]) -> dict[str, float]:
    """Return tenant -> seconds on all devices."""
    total: dict[str, float] = {}
    for part in parts:
        for tenant, seconds in part.items():
            total[tenant] = total.get(tenant, 0.0) + seconds
    return total
