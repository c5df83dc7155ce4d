"""Limit how fast an address opens connections that send no request, so that opening them again and again costs little.

A connection costs a credit, and its first whole request gives the credit back: callers that send requests never wait.
Knows addresses and times; does not know sockets or HTTP.
"""

from collections.abc import Callable
from dataclasses import dataclass

_PER_SECOND = 50.0
_CREDITS = 64.0
"""So many connections of an address may be open at once before any of them has sent a request."""
_MOST_BORROWED = 256.0
_MAX_GROUPS = 10_000
"""More are remembered only while they lack credits."""


@dataclass(slots=True)
class _Account:
    credits: float
    at_s: float


class OpeningPace:
    """The credits of each group of addresses; use it from one thread."""

    def __init__(self, timer: Callable[[], float]) -> None:
        """`timer` gives monotonic seconds."""
        self._timer = timer
        self._accounts: dict[str, _Account] = {}

    def take(self, group: str, *, may_borrow: bool = False) -> bool:
        """Take a credit for one more connection; returns whether there was one.

        With `may_borrow`, for a connection that seems to hold a request, there may be less than none.
        """
        account = self._update(group)
        if account.credits < 1 - (_MOST_BORROWED if may_borrow else 0):
            return False
        account.credits -= 1
        if len(self._accounts) > _MAX_GROUPS:
            self._accounts = {
                name: one for name, one in self._accounts.items() if self._update(name).credits < _CREDITS
            }
        return True

    def give_back(self, group: str) -> None:
        """Return the credit of a connection on which a whole request has arrived."""
        account = self._update(group)
        account.credits = min(account.credits + 1, _CREDITS)

    def _update(self, group: str) -> _Account:
        now_s = self._timer()
        account = self._accounts.setdefault(group, _Account(_CREDITS, now_s))
        account.credits = min(account.credits + _PER_SECOND * (now_s - account.at_s), _CREDITS)
        account.at_s = now_s
        return account
