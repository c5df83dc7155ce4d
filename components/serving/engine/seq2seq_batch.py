"""Rows of an encoder-decoder base: batches that start together, and that rows leave when they are done.

These models count positions by the length of the cache, so that no row can enter a batch that is on its way; whoever
comes meanwhile waits for the next, which all rows of equal weights and guidance share. Knows rows and attached
prefixes; does not know queues or threads.

Shapes: B rows, V vocabulary.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor

from components.model.base.load import Base
from components.model.decoding.decoder_run import GuidedRun
from components.model.decoding.seq2seq_run import PairRun
from components.model.delta import applied
from components.serving.engine.batch import Outcome, failed
from components.serving.engine.sampler import Asking, Chooser
from components.serving.engine.sequence import Row

_log = logging.getLogger(__name__)


class PairBatch:
    """At most so many rows on their way together."""

    def __init__(self, base: Base, places: int) -> None:
        """Nobody yet."""
        self.base, self.places = base, places
        self.rows: list[Row] = []
        self._chooser = Chooser(base)
        self._stack = ExitStack()
        self._run: Any = None
        self._parts: list[list[Row]] = []
        """Rows that go on together, one part after another from the last on, which is the one that has a run."""
        self._order: list[Row] = []
        """The rows of the run, of which some may have left."""

    def open(self) -> AbstractContextManager[None]:
        """See `Steps.open`."""
        return nullcontext()

    def takes(self, row: Row) -> bool:
        """See `Steps.takes`."""
        alike = not self.rows or _kind(row) == _kind(self.rows[0])
        return not self._parts and alike and len(self.rows) < self.places

    def enter(self, row: Row) -> None:
        """See `Steps.enter`."""
        self.rows.append(row)

    def leave(self, row: Row, *, wipe: bool = False) -> None:
        """See `Steps.leave`; what a row leaves is dropped with it."""
        del wipe
        self.rows.remove(row)
        for part in self._parts:
            if row in part:
                part.remove(row)
        if self._parts and not self._parts[-1]:
            self._end()
        self._parts = [part for part in self._parts if part]

    def step(self) -> list[tuple[Row, Outcome]]:
        """See `Steps.step`; rows whose step fails go on in halves, so that one whose trouble it is ends alone.

        The same helps where memory is short. Halves read again what their rows have read and written.
        """
        self._parts = self._parts or [list(self.rows)]
        part = self._parts[-1]
        try:
            logits_BV = self._started(part) if self._run is None else self._stepped(part)
            asking = [Asking(row.request, row.draws, row.last) for row in part]
            return list(zip(part, self._chooser.choose(logits_BV, asking), strict=True))
        except Exception as problem:  # noqa: BLE001 - whatever it is, find the row whose trouble it is
            self._end()
            if len(part) == 1:
                return [(part[0], failed(problem))]
            half = len(part) // 2
            _log.warning("a step of %d rows failed (%s); they go on in halves", len(part), problem)
            self._parts[-1:] = [part[half:], part[:half]]
            return []

    def _end(self) -> None:
        self._run, self._order = None, []
        self._stack.close()

    def _started(self, part: Sequence[Row]) -> Tensor:
        self._order = list(part)
        rows, base = self._order, self.base
        weights = rows[0].work.delta.weights
        attachment = self._stack.enter_context(applied(base, [row.work.delta for row in rows]))
        own: Any = PairRun(base, attachment, [row.work.source for row in rows], 1)
        if rows[0].guided:

            def suspended() -> AbstractContextManager[Any]:
                off = ExitStack()
                for part in (weights, attachment):
                    if part is not None:
                        off.enter_context(part.suspended())
                return off

            bare = [row.work.bare for row in rows]
            own = GuidedRun(own, lambda: PairRun(base, None, bare, 1), rows[0].request.guidance, suspended)
        self._run = own
        logits_BV: Tensor = own.logits_BV
        for token_B in zip(*(row.writing.ids for row in rows), strict=True):
            logits_BV = own.step(torch.tensor(token_B, device=base.device)[:, None])
        return logits_BV

    def _stepped(self, part: Sequence[Row]) -> Tensor:
        if len(part) < len(self._order):
            staying = [place for place, row in enumerate(self._order) if row in part]
            self._run.keep(torch.tensor(staying, device=self.base.device))
            self._order = list(part)
        token_B1 = torch.tensor([row.writing.ids[-1:] for row in part], device=self.base.device)
        logits_BV: Tensor = self._run.step(token_B1)
        return logits_BV


def _kind(row: Row) -> Sequence[float]:
    return id(row.work.delta.weights), row.request.guidance
