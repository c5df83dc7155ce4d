"""Measure the seconds of parts of a program by wrapping its functions; time in a part does not count for its caller.

It measures wall time and processor time, including that of finished child processes. On a machine that runs other work
the processor time varies less; only the wall time includes waiting for disks.
"""

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ClockSeconds = tuple[float, float]
"""(wall seconds, processor seconds)"""


def read_clocks() -> ClockSeconds:
    """Return both clocks; only differences have a meaning."""
    return time.perf_counter(), sum(os.times()[:4])


def add_seconds(one: ClockSeconds, *others: ClockSeconds) -> ClockSeconds:
    """Return the sum."""
    walls, processors = zip(one, *others, strict=True)
    return sum(walls), sum(processors)


def subtract_seconds(one: ClockSeconds, other: ClockSeconds) -> ClockSeconds:
    """Return the difference."""
    return one[0] - other[0], one[1] - other[1]


class Stopwatch:
    """The seconds of every part, without the parts that it called. For one thread only."""

    def __init__(self) -> None:
        """Start without measurements."""
        self.seconds_by_part: dict[str, ClockSeconds] = {}
        self._inner_seconds: list[ClockSeconds] = [(0.0, 0.0)]

    def wrap_function(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, measured as `part`."""

        @functools.wraps(call)
        def measured(*arguments: Any, **named: Any) -> Any:
            with self._time_part(part):
                return call(*arguments, **named)

        return measured

    def wrap_generator(self, part: str, generate: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Return the generator function; the time between its `yield`s is measured as `part`."""

        @functools.wraps(generate)
        def measured(*arguments: Any, **named: Any) -> Iterator[Any]:
            values = generate(*arguments, **named)
            while True:
                with self._time_part(part):
                    try:
                        value = next(values)
                    except StopIteration:
                        return
                yield value

        return measured

    @contextmanager
    def _time_part(self, part: str) -> Iterator[None]:
        started = read_clocks()
        self._inner_seconds.append((0.0, 0.0))
        try:
            yield
        finally:
            seconds = subtract_seconds(read_clocks(), started)
            self.seconds_by_part[part] = add_seconds(
                self.seconds_by_part.get(part, (0.0, 0.0)), subtract_seconds(seconds, self._inner_seconds.pop())
            )
            self._inner_seconds[-1] = add_seconds(self._inner_seconds[-1], seconds)
