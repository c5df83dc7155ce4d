"""Seconds that parts of a program take, by watches put around its functions; a part's time is not its caller's too.

Beside the clock's stands the processor's time, with that of commands that the part waited for: on a machine that others
use too it is the steadier of the two, and without them the clock shows about as much and what waits for disks.
"""

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ClockSeconds = tuple[float, float]
"""Seconds by the clock and of the processor."""


def read_clocks() -> ClockSeconds:
    """Both, from some moment on."""
    return time.perf_counter(), sum(os.times()[:4])


def add_seconds(one: ClockSeconds, *others: ClockSeconds) -> ClockSeconds:
    """The sum of all."""
    walls, processors = zip(one, *others, strict=True)
    return sum(walls), sum(processors)


def subtract_seconds(one: ClockSeconds, other: ClockSeconds) -> ClockSeconds:
    """What is left."""
    return one[0] - other[0], one[1] - other[1]


class Stopwatch:
    """Knows of every part how long it took, less the parts that it called. One thread at a time."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self.seconds_by_part: dict[str, ClockSeconds] = {}
        self._inner_seconds: list[ClockSeconds] = [(0.0, 0.0)]

    def wrap_function(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""

        @functools.wraps(call)
        def watched(*arguments: Any, **named: Any) -> Any:
            with self._time_part(part):
                return call(*arguments, **named)

        return watched

    def wrap_generator(self, part: str, generate: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """The generator, watched while it makes what it yields."""

        @functools.wraps(generate)
        def watched(*arguments: Any, **named: Any) -> Iterator[Any]:
            made = generate(*arguments, **named)
            while True:
                with self._time_part(part):
                    try:
                        one = next(made)
                    except StopIteration:
                        return
                yield one

        return watched

    @contextmanager
    def _time_part(self, part: str) -> Iterator[None]:
        started = read_clocks()
        self._inner_seconds.append((0.0, 0.0))
        try:
            yield
        finally:
            taken = subtract_seconds(read_clocks(), started)
            self.seconds_by_part[part] = add_seconds(
                self.seconds_by_part.get(part, (0.0, 0.0)), subtract_seconds(taken, self._inner_seconds.pop())
            )
            self._inner_seconds[-1] = add_seconds(self._inner_seconds[-1], taken)
