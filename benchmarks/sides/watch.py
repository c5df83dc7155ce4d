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

Taken = tuple[float, float]
"""Seconds by the clock and of the processor."""


def now() -> Taken:
    """Both, from some moment on."""
    return time.perf_counter(), sum(os.times()[:4])


def plus(one: Taken, *others: Taken) -> Taken:
    """The sum of all."""
    walls, processors = zip(one, *others, strict=True)
    return sum(walls), sum(processors)


def minus(one: Taken, other: Taken) -> Taken:
    """What is left."""
    return one[0] - other[0], one[1] - other[1]


class Watch:
    """Knows of every part how long it took, less the parts that it called. One thread at a time."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self.taken: dict[str, Taken] = {}
        self._inner: list[Taken] = [(0.0, 0.0)]

    def around(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""

        @functools.wraps(call)
        def watched(*arguments: Any, **named: Any) -> Any:
            with self._running(part):
                return call(*arguments, **named)

        return watched

    def along(self, part: str, generate: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """The generator, watched while it makes what it yields."""

        @functools.wraps(generate)
        def watched(*arguments: Any, **named: Any) -> Iterator[Any]:
            made = generate(*arguments, **named)
            while True:
                with self._running(part):
                    try:
                        one = next(made)
                    except StopIteration:
                        return
                yield one

        return watched

    @contextmanager
    def _running(self, part: str) -> Iterator[None]:
        started = now()
        self._inner.append((0.0, 0.0))
        try:
            yield
        finally:
            taken = minus(now(), started)
            self.taken[part] = plus(self.taken.get(part, (0.0, 0.0)), minus(taken, self._inner.pop()))
            self._inner[-1] = plus(self._inner[-1], taken)
