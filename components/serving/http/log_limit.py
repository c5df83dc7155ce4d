"""Limit how often a message is logged, so that a flood of requests cannot fill the disk. Knows log records only."""

import logging
from collections.abc import Callable

WINDOW_SECONDS = 60.0
LINES_PER_WINDOW = 5
MOST_MESSAGES = 1000


class LogLimit(logging.Filter):
    """Passes a message at most 5 times a minute; the next one after that says how many were left out.

    Messages are the same if the first 200 characters of their text before formatting are. It remembers 1,000 of them.
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
        if message not in self._windows and len(self._windows) >= MOST_MESSAGES:
            del self._windows[next(iter(self._windows))]
        self._windows[message] = started_s, count + 1
        return count < LINES_PER_WINDOW
