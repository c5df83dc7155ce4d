"""Waiting for events. The limit only ends a wait that would never end; no test asserts how long something takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT_S = 600.0
"""Far beyond what anything in these tests takes on a slow, busy machine."""
PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.25
"""Conditions that ask a server cost processor time: the longer a wait lasts, the longer are its pauses."""


def wait_until(condition: Callable[[], T], what: str, limit_s: float = LIMIT_S, pause_s: float | None = None) -> T:
    """Call `condition` every `pause_s` seconds until it returns something true; return that.

    An AssertionError of `condition` ends the wait at once. Fails, naming `what`, after `limit_s` seconds.
    """
    begun_s = time.monotonic()
    while not (found := condition()):
        waited_s = time.monotonic() - begun_s
        assert waited_s < limit_s, f"waited {limit_s:.0f} s in vain for {what}"
        time.sleep(pause_s or min(max(PAUSE_S, waited_s / 40), _LONGEST_PAUSE_S))
    return found
