"""Parse a caller's large bodies one after the other and at a limited rate, so that they leave the event loop to others.

Other callers' bodies do not wait for them. Knows callers and bytes; does not know requests.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from components.serving.errors import RefusalError
from components.serving.http.json_body import parse_json

LARGE_BYTES = 16_384
_BYTES_PER_SECOND = 5_000_000
_BYTES_PER_VALUE = 100
"""Checking a value takes as long as reading so many bytes, about 2 us."""
_LARGE_WORK_BYTES = 50_000
"""A body of fewer bytes is large as well, if checking its values takes as long as reading so many bytes."""
_MAX_WAITING = 8


@dataclass(slots=True)
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    free_s: float = 0.0
    """When the next body may be parsed."""


class LargeBodies:
    """The callers that have large bodies; use it from one event loop."""

    def __init__(self, timer: Callable[[], float], max_values: int) -> None:
        """`timer` gives monotonic seconds; a body may have `max_values` values."""
        self._timer, self._max_values = timer, max_values
        self._lines: dict[str, _Line] = {}

    def check_room(self, caller: str, size: int) -> None:
        """Refuse a body of `size` bytes before it is received, if too many of the caller's wait.

        Raises:
            RefusalError: 429.
        """
        if size > LARGE_BYTES:
            self._check_line(caller)

    def _check_line(self, caller: str) -> None:
        line = self._lines.get(caller)
        if line is not None and line.waiting >= _MAX_WAITING:
            wanted = f"at most {_MAX_WAITING} waiting bodies of more than {LARGE_BYTES} bytes, or about 500 values"
            retry_s = max(line.free_s - self._timer(), 1.0)
            raise RefusalError(429, wanted, "more", "send fewer at once", code="busy", retry_after=retry_s)

    async def parse(self, caller: str, content: bytes) -> Any:
        """Return the value of a body, in its turn if it is large. Raises RefusalError, as `parse_json`."""
        work = len(content) + _BYTES_PER_VALUE * min(content.count(b","), self._max_values)
        if len(content) <= LARGE_BYTES:
            if work <= _LARGE_WORK_BYTES:
                return parse_json(content, self._max_values)
            self._check_line(caller)
        line = self._lines.setdefault(caller, _Line())
        line.waiting += 1
        try:
            async with line.lock:
                await asyncio.sleep(max(line.free_s - self._timer(), 0))
                line.free_s = self._timer() + work / _BYTES_PER_SECOND
                return parse_json(content, self._max_values)
        finally:
            line.waiting -= 1
            self._drop_free_lines()

    def _drop_free_lines(self) -> None:
        now_s = self._timer()
        for caller in [name for name, line in self._lines.items() if not line.waiting and line.free_s <= now_s]:
            del self._lines[caller]
