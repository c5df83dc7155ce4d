"""Delay answers that cost the server little, so that a flood of them leaves its time to requests that are answered.

Each caller has its own pace. Nothing is refused: a caller that waits for its answers cannot send faster. Knows callers
and times; does not know requests.
"""

import asyncio
from collections.abc import Callable

_PER_SECOND = 100.0
REFUSALS_PER_SECOND, REFUSALS_BURST_SECONDS = 25.0, 4.0
_MAX_SECONDS = 2.0
_BURST_SECONDS = 1.0
_MAX_CALLERS = 10_000
"""More are remembered only while they are delayed."""


class AnswerPace:
    """The callers' paces, by the generic cell rate algorithm; use it from one event loop."""

    def __init__(
        self,
        timer: Callable[[], float],
        *,
        per_second: float = _PER_SECOND,
        burst_seconds: float = _BURST_SECONDS,
        max_seconds: float = _MAX_SECONDS,
    ) -> None:
        """`timer` gives monotonic seconds; `per_second` answers of a caller are sent, none later than `max_seconds`.

        So many answers as belong to `burst_seconds` are not delayed.
        """
        self.per_second = per_second
        self._timer = timer
        self._burst_s, self._max_s = burst_seconds, max_seconds
        self._due_s: dict[str, float] = {}
        """Caller -> when all of its answers would have been sent at an even pace."""

    async def wait(self, caller: str) -> None:
        """Wait until the caller's next answer is due."""
        delay_s = self.reserve(caller)
        if delay_s:
            await asyncio.sleep(delay_s)

    def reserve(self, caller: str) -> float:
        """Count an answer of the caller; returns the seconds until it is due."""
        now_s = self._timer()
        due_s = max(self._due_s.get(caller, now_s), now_s) + 1 / self.per_second
        self._due_s[caller] = min(due_s, now_s + self._burst_s + self._max_s)
        delay_s = self._due_s[caller] - now_s - self._burst_s
        if len(self._due_s) > _MAX_CALLERS:
            self._due_s = {name: due_s for name, due_s in self._due_s.items() if due_s > now_s + self._burst_s}
        return max(delay_s, 0.0)
