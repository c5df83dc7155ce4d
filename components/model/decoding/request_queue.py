"""Requests and the order in which they are decoded: they come as they are needed, in windows sorted by length.

Does not know models or batches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from components.model.delta import Delta


@dataclass(frozen=True, slots=True)
class Request:
    """One row: what to generate after, and under what."""

    delta: Delta
    source: Sequence[int]
    bare: Sequence[int]
    """What the base reads in the delta's place, with guidance."""
    limit: int
    """New tokens at most, within the context."""
    number: int = 0
    """Decides what is drawn, with the seed."""
    owner: Any = None
    """Whatever the caller wants to find again."""

    @property
    def kind(self) -> tuple[int, bool]:
        """Rows of one kind can share a batch."""
        return id(self.delta.weights), bool(self.delta.prefix and self.delta.prefix.is_infix)

    @property
    def length(self) -> int:
        """Tokens to read."""
        return self.delta.length + len(self.source)


class Waiting:
    """The requests that wait: a window of one kind, the longest first."""

    def __init__(self, requests: Iterable[Request], size: int) -> None:
        self._requests, self._size = iter(requests), size
        self._window: list[Request] = []
        self._next: Request | None = None
        self._kind: tuple[int, bool] | None = None

    def ahead(self) -> bool:
        """Whether there are more; whatever kind comes next may then be taken."""
        self._kind = None
        return bool(self._window) or self._fill()

    @property
    def first(self) -> Request:
        """One of those that `take` gives next."""
        return self._window[0]

    def take(self, number: int, *, more: bool) -> list[Request]:
        """At most so many rows, of one kind until `ahead` is asked again; `more` lets another window be looked at."""
        if not self._window and more:
            self._fill()
        taken, self._window = self._window[:number], self._window[number:]
        return taken

    def take_back(self, rows: Sequence[Request]) -> None:
        """Let rows that were taken wait again."""
        self._window = sorted([*rows, *self._window], key=lambda request: -request.length)

    def _fill(self) -> bool:
        held = [] if self._next is None else [self._next]
        self._next = None
        for request in chain(held, self._requests):
            kind = self._kind = self._kind or request.kind
            if request.kind != kind:
                self._next = request
                break
            self._window.append(request)
            if len(self._window) == self._size:
                break
        self._window.sort(key=lambda request: -request.length)
        return bool(self._window)
