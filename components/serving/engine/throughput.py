"""How fast rows are done, for those who ask when to come again. Knows a clock; does not know rows."""

from collections.abc import Callable

_DECAY = 0.9
"""The share of what was known that stays with each row that is done."""
_MIN_S, _MAX_S = 0.1, 60.0


class Throughput:
    """Seconds from one row's end to the next, averaged over the last dozen or so."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` tells seconds."""
        self._clock, self._last_s, self._average_s = clock, clock(), 0.0

    def restart_clock(self) -> None:
        """Work begins after a pause, which does not count."""
        self._last_s = self._clock()

    def record_completion(self) -> None:
        """A row is done."""
        now = self._clock()
        took_s, self._last_s = now - self._last_s, now
        self._average_s = _DECAY * self._average_s + (1 - _DECAY) * took_s if self._average_s else took_s

    def estimate_seconds(self, rows: int) -> float:
        """How long so many rows take, about."""
        return min(max(rows * self._average_s, _MIN_S), _MAX_S)
