"""Decoding requests, and the queue that orders them: read as needed, in windows sorted by length.

Does not know models or batches.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from components.model.delta import Delta


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One row to decode: a source and the delta to decode it under."""

    delta: Delta
    source: Sequence[int]
    bare_source: Sequence[int]
    """The source that the bare base reads, with guidance."""
    limit: int
    """Most new tokens; the context has space for them."""
    number: int = 0
    """With the seed, decides the samples of this row."""
    owner: Any = None
    """Any object of the caller, returned with the result."""

    @property
    def batch_key(self) -> tuple[int, bool]:
        """Rows with the same key can share a batch."""
        return id(self.delta.weights), bool(self.delta.prefix and self.delta.prefix.is_infix)

    @property
    def length(self) -> int:
        """Slots and source tokens."""
        return self.delta.length + len(self.source)


class RequestQueue:
    """Waiting requests: a window of `size` requests with one batch key, the longest first."""

    def __init__(self, requests: Iterable[DecodeRequest], size: int) -> None:
        self._requests, self._window_size = iter(requests), size
        self._window: list[DecodeRequest] = []
        self._next_request: DecodeRequest | None = None
        self._batch_key: tuple[int, bool] | None = None

    def open_next_window(self) -> bool:
        """Allow requests of the next batch key. Return whether there are any requests left."""
        self._batch_key = None
        return bool(self._window) or self._fill_window()

    @property
    def first(self) -> DecodeRequest:
        """The request that `take` returns first."""
        return self._window[0]

    def take(self, number: int, *, may_refill: bool) -> list[DecodeRequest]:
        """Take at most `number` requests, all with one batch key until the next `open_next_window`.

        With `may_refill`, an empty window is filled again.
        """
        if not self._window and may_refill:
            self._fill_window()
        taken, self._window = self._window[:number], self._window[number:]
        return taken

    def put_back(self, rows: Sequence[DecodeRequest]) -> None:
        """Return requests to the queue."""
        self._window = sorted([*rows, *self._window], key=lambda request: -request.length)

    def _fill_window(self) -> bool:
        held = [] if self._next_request is None else [self._next_request]
        self._next_request = None
        for request in chain(held, self._requests):
            batch_key = self._batch_key = self._batch_key or request.batch_key
            if request.batch_key != batch_key:
                self._next_request = request
                break
            self._window.append(request)
            if len(self._window) == self._window_size:
                break
        self._window.sort(key=lambda request: -request.length)
        return bool(self._window)
