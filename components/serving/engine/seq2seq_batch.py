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
from components.model.decoding.seq2seq_run import Seq2SeqRun
from components.model.delta import apply_deltas
from components.serving.engine.batch import StepResult, to_step_error
from components.serving.engine.sampler import Sampler, SamplingRequest
from components.serving.engine.sequence import EngineSequence

_log = logging.getLogger(__name__)


class Seq2SeqBatch:
    """At most so many rows on their way together."""

    def __init__(self, base: Base, max_sequences: int) -> None:
        """Nobody yet."""
        self.base, self.max_sequences = base, max_sequences
        self.sequences: list[EngineSequence] = []
        self._sampler = Sampler(base)
        self._attachments = ExitStack()
        self._decode_run: Any = None
        self._groups: list[list[EngineSequence]] = []
        """Rows that go on together, one part after another from the last on, which is the one that has a run."""
        self._run_sequences: list[EngineSequence] = []
        """The rows of the run, of which some may have left."""

    def activate(self) -> AbstractContextManager[None]:
        """See `Steps.activate`."""
        return nullcontext()

    def has_capacity_for(self, row: EngineSequence) -> bool:
        """See `Steps.has_capacity_for`."""
        alike = not self.sequences or _find_batch_key(row) == _find_batch_key(self.sequences[0])
        return not self._groups and alike and len(self.sequences) < self.max_sequences

    def add(self, row: EngineSequence) -> None:
        """See `Steps.add`."""
        self.sequences.append(row)

    def remove(self, row: EngineSequence, *, wipe: bool = False) -> None:
        """See `Steps.remove`; what a row leaves is dropped with it."""
        del wipe
        self.sequences.remove(row)
        for part in self._groups:
            if row in part:
                part.remove(row)
        if self._groups and not self._groups[-1]:
            self._end_run()
        self._groups = [part for part in self._groups if part]

    def step(self) -> list[tuple[EngineSequence, StepResult]]:
        """See `Steps.step`; rows whose step fails go on in halves, so that one whose trouble it is ends alone.

        The same helps where memory is short. Halves read again what their rows have read and written.
        """
        self._groups = self._groups or [list(self.sequences)]
        part = self._groups[-1]
        try:
            logits_BV = self._start_run(part) if self._decode_run is None else self._step_run(part)
            asking = [SamplingRequest(row.request, row.draws, row.is_last_token) for row in part]
            return list(zip(part, self._sampler.sample(logits_BV, asking), strict=True))
        except Exception as problem:  # noqa: BLE001 - whatever it is, find the row whose trouble it is
            self._end_run()
            if len(part) == 1:
                return [(part[0], to_step_error(problem))]
            half = len(part) // 2
            _log.warning("a step of %d rows failed (%s); they go on in halves", len(part), problem)
            self._groups[-1:] = [part[half:], part[:half]]
            return []

    def _end_run(self) -> None:
        self._decode_run, self._run_sequences = None, []
        self._attachments.close()

    def _start_run(self, part: Sequence[EngineSequence]) -> Tensor:
        self._run_sequences = list(part)
        rows, base = self._run_sequences, self.base
        weights = rows[0].decode_request.delta.weights
        attachment = self._attachments.enter_context(apply_deltas(base, [row.decode_request.delta for row in rows]))
        own: Any = Seq2SeqRun(base, attachment, [row.decode_request.source for row in rows], 1)
        if rows[0].is_guided:

            def suspended() -> AbstractContextManager[Any]:
                off = ExitStack()
                for part in (weights, attachment):
                    if part is not None:
                        off.enter_context(part.suspend())
                return off

            bare = [row.decode_request.bare_source for row in rows]
            own = GuidedRun(own, lambda: Seq2SeqRun(base, None, bare, 1), rows[0].request.guidance, suspended)
        self._decode_run = own
        logits_BV: Tensor = own.logits_BV
        for token_B in zip(*(row.detokenizer.token_ids for row in rows), strict=True):
            logits_BV = own.step(torch.tensor(token_B, device=base.device)[:, None])
        return logits_BV

    def _step_run(self, part: Sequence[EngineSequence]) -> Tensor:
        if len(part) < len(self._run_sequences):
            staying = [place for place, row in enumerate(self._run_sequences) if row in part]
            self._decode_run.keep(torch.tensor(staying, device=self.base.device))
            self._run_sequences = list(part)
        token_B1 = torch.tensor([row.detokenizer.token_ids[-1:] for row in part], device=self.base.device)
        logits_BV: Tensor = self._decode_run.step(token_B1)
        return logits_BV


def _find_batch_key(row: EngineSequence) -> Sequence[float]:
    return id(row.decode_request.delta.weights), row.request.guidance
