"""Waiting for events. The limit only ends a wait that would never end; no test asserts how long something takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT_S = 600.0
"""Far beyond what anything in these tests takes on a slow, busy machine."""
PAUSE_S = 0.05


def wait_until(condition: Callable[[], T], what: str, limit_s: float = LIMIT_S, pause_s: float = PAUSE_S) -> T:
    """Call `condition` every `pause_s` seconds until it returns something true; return that.

    An AssertionError of `condition` ends the wait at once. Fails, naming `what`, after `limit_s` seconds.
    """
    until_s = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < until_s, f"waited {limit_s:.0f} s in vain for {what}"
        time.sleep(pause_s)
    return found
