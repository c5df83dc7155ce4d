"""Requests and the order in which they are decoded: they come as they are needed, in windows sorted by length.

Does not know models or batches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from components.model.delta import Delta


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One row: what to generate after, and under what."""

    delta: Delta
    source: Sequence[int]
    bare_source: Sequence[int]
    """What the base reads in the delta's place, with guidance."""
    limit: int
    """New tokens at most, within the context."""
    number: int = 0
    """Decides what is drawn, with the seed."""
    owner: Any = None
    """Whatever the caller wants to find again."""

    @property
    def batch_key(self) -> tuple[int, bool]:
        """Rows of one kind can share a batch."""
        return id(self.delta.weights), bool(self.delta.prefix and self.delta.prefix.is_infix)

    @property
    def length(self) -> int:
        """Tokens to read."""
        return self.delta.length + len(self.source)


class RequestQueue:
    """The requests that wait: a window of one kind, the longest first."""

    def __init__(self, requests: Iterable[DecodeRequest], size: int) -> None:
        self._requests, self._window_size = iter(requests), size
        self._window: list[DecodeRequest] = []
        self._next_request: DecodeRequest | None = None
        self._batch_key: tuple[int, bool] | None = None

    def open_next_window(self) -> bool:
        """Whether there are more; whatever kind comes next may then be taken."""
        self._batch_key = None
        return bool(self._window) or self._fill_window()

    @property
    def first(self) -> DecodeRequest:
        """One of those that `take` gives next."""
        return self._window[0]

    def take(self, number: int, *, may_refill: bool) -> list[DecodeRequest]:
        """At most so many rows, of one kind until `open_next_window` is asked again.

        `may_refill` lets another window be looked at.
        """
        if not self._window and may_refill:
            self._fill_window()
        taken, self._window = self._window[:number], self._window[number:]
        return taken

    def put_back(self, rows: Sequence[DecodeRequest]) -> None:
        """Let rows that were taken wait again."""
        self._window = sorted([*rows, *self._window], key=lambda request: -request.length)

    def _fill_window(self) -> bool:
        held = [] if self._next_request is None else [self._next_request]
        self._next_request = None
        for request in chain(held, self._requests):
            kind = self._batch_key = self._batch_key or request.batch_key
            if request.batch_key != kind:
                self._next_request = request
                break
            self._window.append(request)
            if len(self._window) == self._window_size:
                break
        self._window.sort(key=lambda request: -request.length)
        return bool(self._window)
