"""Limit how often a message is logged, so that a flood of requests cannot fill the disk. Knows log records only."""

import logging
from collections.abc import Callable

WINDOW_SECONDS = 60.0
LINES_PER_WINDOW = 5


class LogLimit(logging.Filter):
    """Passes a message at most 5 times a minute; the next one after that says how many were left out.

    Messages are the same if their text before formatting is the same.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        super().__init__()
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}
        """Message -> start of its window, and how many records came in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record."""
        now_s, message = self._clock(), str(record.msg)[:200]
        started_s, count = self._windows.get(message, (now_s, 0))
        if now_s - started_s >= WINDOW_SECONDS:
            if count > LINES_PER_WINDOW:
                record.msg = f"{record.msg} ({count - LINES_PER_WINDOW} more in the last minutes)"
            started_s, count = now_s, 0
        self._windows[message] = started_s, count + 1
        return count < LINES_PER_WINDOW
