"""The time by which something has expired, on a machine whose clock may be set while the server runs."""

from collections.abc import Callable


class LatestClock:
    """The later of two times, in seconds since 1970: of the clock, and of its reading at the start plus the timer's.

    So a clock that is set back makes nothing valid again, and an error of a clock that is set forward ends with it.
    """

    def __init__(self, clock: Callable[[], float], timer: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970, `timer` monotonic seconds."""
        self._clock, self._timer = clock, timer
        self._start_s = clock() - timer()

    def __call__(self) -> float:
        """Return the time."""
        return max(self._clock(), self._start_s + self._timer())
