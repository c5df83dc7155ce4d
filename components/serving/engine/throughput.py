"""How fast rows are done, for those who ask when to come again. Knows a clock; does not know rows."""

from collections.abc import Callable

_REMEMBERED = 0.9
"""The share of what was known that stays with each row that is done."""
_LEAST_S, _MOST_S = 0.1, 60.0


class Rate:
    """Seconds from one row's end to the next, averaged over the last dozen or so."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` tells seconds."""
        self._clock, self._last, self._each_s = clock, clock(), 0.0

    def start(self) -> None:
        """Work begins after a pause, which does not count."""
        self._last = self._clock()

    def done(self) -> None:
        """A row is done."""
        now = self._clock()
        took_s, self._last = now - self._last, now
        self._each_s = _REMEMBERED * self._each_s + (1 - _REMEMBERED) * took_s if self._each_s else took_s

    def seconds(self, rows: int) -> float:
        """How long so many rows take, about."""
        return min(max(rows * self._each_s, _LEAST_S), _MOST_S)
