"""Rows of an encoder-decoder base: batches that start together, and that rows leave when they are done.

These models count positions by the length of the cache, so that no row can enter a batch that is on its way; whoever
comes meanwhile waits for the next, which all rows of equal weights and guidance share. Knows rows and attached
prefixes; does not know queues or threads.

Shapes: B rows, V vocabulary.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor

from components.model.base import Base
from components.model.decoding.pair import PairRun
from components.model.decoding.runs import GuidedRun
from components.model.delta import applied
from components.serving.engine.batch import Outcome
from components.serving.engine.choosing import Asking, Chooser
from components.serving.engine.rows import Row


class PairBatch:
    """At most so many rows on their way together."""

    def __init__(self, base: Base, places: int) -> None:
        """Nobody yet."""
        self.base, self.places = base, places
        self.rows: list[Row] = []
        self._chooser = Chooser(base)
        self._stack = ExitStack()
        self._run: Any = None
        self._order: list[Row] = []
        """The rows of the run, of which some may have left."""

    def open(self) -> AbstractContextManager[None]:
        """See `Steps.open`."""
        return nullcontext()

    def takes(self, row: Row) -> bool:
        """See `Steps.takes`."""
        alike = not self.rows or _kind(row) == _kind(self.rows[0])
        return self._run is None and alike and len(self.rows) < self.places

    def enter(self, row: Row) -> None:
        """See `Steps.enter`."""
        self.rows.append(row)

    def leave(self, row: Row, *, wipe: bool = False) -> None:
        """See `Steps.leave`; what a row leaves is dropped with it."""
        del wipe
        self.rows.remove(row)
        if not self.rows:
            self._run = None
            self._stack.close()

    def step(self) -> list[tuple[Row, Outcome]]:
        """See `Steps.step`; where it raises, all rows have to leave."""
        logits_BV = self._started() if self._run is None else self._stepped()
        asking = [Asking(row.request, row.draws, row.last) for row in self._order]
        return list(zip(self._order, self._chooser.choose(logits_BV, asking), strict=True))

    def _started(self) -> Tensor:
        self._order = list(self.rows)
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
        return logits_BV

    def _stepped(self) -> Tensor:
        staying = [place for place, row in enumerate(self._order) if row in self.rows]
        if len(staying) < len(self._order):
            self._run.keep(torch.tensor(staying, device=self.base.device))
            self._order = [self._order[place] for place in staying]
        token_B1 = torch.tensor([row.writing.ids[-1:] for row in self._order], device=self.base.device)
        logits_BV: Tensor = self._run.step(token_B1)
        return logits_BV


def _kind(row: Row) -> Sequence[float]:
    return id(row.work.delta.weights), row.request.guidance
