"""The newest snapshot of the fleet: read in a thread when a page asks for it, never twice at once.

Knows when to read; does not know what is read.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from components.console.fleet.rows import FleetSnapshot

_LOGGER = logging.getLogger("prefixfleet")


class FleetBoard:
    """Holds the newest snapshot; safe to use from many threads."""

    def __init__(
        self, read: Callable[[FleetSnapshot | None], FleetSnapshot], timer: Callable[[], float], max_age_s: float
    ) -> None:
        """`read` makes a snapshot and gets the one before; `timer` gives monotonic seconds."""
        self._read, self._timer, self._max_age_s = read, timer, max_age_s
        self._snapshot: FleetSnapshot | None = None
        self._read_s = 0.0
        self._changes = self._seen_changes = 0
        """Changes so far, and those before the newest snapshot was read."""
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None

    def get(self, wait_s: float = 0.0) -> FleetSnapshot | None:
        """Return the newest snapshot, and begin to read a newer one if it is old.

        Waits at most `wait_s` seconds for the first snapshot (None: it is not ready), and for one that is read after
        the last change.
        """
        reading = self._start_reading_if_old()
        if reading is not None and wait_s and self._is_changed:
            reading.join(wait_s)
            if self._is_changed and (reading := self._start_reading_if_old()) is not None:  # it began before the change
                reading.join(wait_s)
        return self._snapshot

    def expire(self) -> None:
        """Let the next `get` read a newer snapshot, as something has changed."""
        with self._lock:
            self._changes += 1

    @property
    def _is_changed(self) -> bool:
        return self._snapshot is None or self._seen_changes < self._changes

    def _start_reading_if_old(self) -> threading.Thread | None:
        with self._lock:
            is_old = self._is_changed or self._timer() - self._read_s > self._max_age_s
            if is_old and (self._reading is None or not self._reading.is_alive()):
                self._reading = threading.Thread(target=self._refresh, name="fleet snapshot", daemon=True)
                self._reading.start()
            return self._reading

    def _refresh(self) -> None:
        before, changes = self._snapshot, self._changes
        try:
            snapshot = self._read(before)
        except Exception:
            _LOGGER.exception("the fleet could not be read")
            trouble = "The fleet could not be read: the console's log has the details."
            if before is None:
                return
            snapshot = replace(before, troubles=[trouble])
        with self._lock:
            self._snapshot = replace(snapshot, number=before.number + 1 if before else 1)
            self._read_s, self._seen_changes = self._timer(), changes
