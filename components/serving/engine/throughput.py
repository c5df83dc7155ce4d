"""Estimate how fast rows are finished, for Retry-After. Knows a clock; does not know rows."""

from collections.abc import Callable

_DECAY = 0.9
"""Weight of the old average at each finished row."""
_MIN_S, _MAX_S = 0.1, 60.0


class Throughput:
    """Seconds from one finished row to the next, as an exponential moving average."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._clock, self._last_s, self._average_s = clock, clock(), 0.0

    def restart_clock(self) -> None:
        """Start to measure after a pause, so that the pause does not count."""
        self._last_s = self._clock()

    def record_completion(self) -> None:
        """Record that a row is finished."""
        now_s = self._clock()
        took_s, self._last_s = now_s - self._last_s, now_s
        self._average_s = _DECAY * self._average_s + (1 - _DECAY) * took_s if self._average_s else took_s

    def estimate_seconds(self, rows: int) -> float:
        """Return about how many seconds `rows` rows take, between 0.1 and 60."""
        return min(max(rows * self._average_s, _MIN_S), _MAX_S)
