"""Repeats a call while its errors say that it may succeed later, with growing waits, up to a limit.

Knows no store; the clock and the wait are passed in.
"""

import secrets
import time
from collections.abc import Callable

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 5.0


class Patience:
    """How long one call waits for a store that does not answer; made for one call."""

    def __init__(
        self,
        limit_s: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Count the limit from the first failure on, or from the last progress."""
        self._limit_s, self._now, self._sleep = limit_s, now, sleep
        self._fails_since: float | None = None
        self._most_bytes = 0
        self.tries = 0
        """Failed tries since then."""

    def note_progress(self, done_bytes: int) -> None:
        """Count from the next failure on if a transfer came further than any earlier try: the store answers."""
        if done_bytes > self._most_bytes:
            self._most_bytes, self._fails_since, self.tries = done_bytes, None, 0

    def wait(self) -> bool:
        """Wait before the next try; False, at once, if the limit is reached."""
        now = self._now()
        if self._fails_since is None:
            self._fails_since = now
        left_s = self._limit_s - (now - self._fails_since)
        if left_s <= 0:
            return False
        longest_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** min(self.tries, 10))
        self.tries += 1
        self._sleep(min(left_s, longest_s * (0.5 + secrets.randbelow(501) / 1000)))
        return True
