"""By how much a process's own memory grows during a call."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_Result = TypeVar("_Result")


def measure_growth(call: Callable[[], _Result]) -> tuple[_Result, int]:
    """Return what a call returns, and the most bytes by which this process grew meanwhile.

    Pages of files that are only mapped do not count: the system may drop them at any time.
    """
    samples, ended = [_read_own_bytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            samples.append(_read_own_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        result = call()
    finally:
        ended.set()
        thread.join()
    return result, max(samples) - samples[0]


def _read_own_bytes() -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", text)[1])  # type: ignore[index]
