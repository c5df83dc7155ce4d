"""The batch of a base whose rows cannot share a cache: sequences start together and leave one by one.

These are encoder-decoder bases, which count positions by the length of the cache, and decoder-only bases with recurrent
states or other caches. No sequence can be added to a running batch: later ones wait for the next batch, which takes
sequences with the same weights, guidance, number of beams and place of the slots. Knows sequences and attached
prefixes; does not know queues or threads.

Shapes: B sequences, K beams, R = B x K, N new tokens so far, V vocabulary.
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor

from components.model.base.load import Base
from components.model.decoding.decoder_run import GuidedRun
from components.model.decoding.run_kinds import attach_to_sources, can_pad_rows, find_attached_kind
from components.serving.engine.batch import StepResult
from components.serving.engine.beams import step_beams
from components.serving.engine.sampler import Sampler
from components.serving.engine.sequence import EngineSequence
from components.serving.engine.step_errors import to_step_error

_log = logging.getLogger(__name__)


class GroupedBatch:
    """At most `max_sequences` sequences; one at a time on a base whose rows depend on padding."""

    def __init__(self, base: Base, max_sequences: int) -> None:
        """Start empty."""
        self.base, self.max_sequences = base, max_sequences if can_pad_rows(base) else 1
        self.sequences: list[EngineSequence] = []
        self.source_tokens = 0
        self._sampler = Sampler(base)
        self._attachments = ExitStack()
        self._decode_run: Any = None
        """The decoding run of the last group; None: it has to be started."""
        self._groups: list[list[EngineSequence]] = []
        """Sequences that are computed together; more than one group after an error. The last group goes first."""
        self._run_sequences: list[EngineSequence] = []
        """The sequences that the decoding run holds, of which some may have left the group."""

    def activate(self) -> AbstractContextManager[None]:
        """See `SequenceBatch.activate`."""
        return nullcontext()

    def has_capacity_for(self, sequence: EngineSequence) -> bool:
        """See `SequenceBatch.has_capacity_for`."""
        is_alike = not self.sequences or _find_batch_key(sequence) == _find_batch_key(self.sequences[0])
        beams = sequence.request.num_beams
        has_room = not self.sequences or (len(self.sequences) + 1) * beams <= self.max_sequences
        return not self._groups and is_alike and has_room

    def add(self, sequence: EngineSequence) -> None:
        """See `SequenceBatch.add`."""
        self.sequences.append(sequence)

    def remove(self, sequence: EngineSequence, *, wipe: bool = False) -> None:
        """See `SequenceBatch.remove`; there is nothing to wipe, as the cache of a run ends with it."""
        del wipe
        self.sequences.remove(sequence)
        for group in self._groups:
            if sequence in group:
                group.remove(sequence)
        if self._groups and not self._groups[-1]:
            self._end_run()
        self._groups = [group for group in self._groups if group]

    def step(self) -> list[tuple[EngineSequence, StepResult]]:
        """See `SequenceBatch.step`. If a step fails, its group is split in halves, so that only the causes end.

        This also helps against lack of memory. The halves start again and repeat the tokens generated so far.
        """
        self._groups = self._groups or [list(self.sequences)]
        group = self._groups[-1]
        is_start = self._decode_run is None
        self.source_tokens = sum(len(one.decode_request.source) for one in group) if is_start else 0
        try:
            logits_RV = self._start_run(group) if self._decode_run is None else self._step_run(group)
            if group[0].beams is not None:
                return self._step_beams(group, logits_RV)
            return list(zip(group, self._sampler.sample(logits_RV, group), strict=True))
        except Exception as problem:  # noqa: BLE001 - any error: find the sequence that causes it
            self._end_run()
            if len(group) == 1:
                return [(group[0], to_step_error(problem))]
            half = len(group) // 2
            _log.warning("a step of %d rows failed (%s); retrying in halves", len(group), problem)
            self._groups[-1:] = [group[half:], group[:half]]
            return []

    def _step_beams(
        self, group: Sequence[EngineSequence], logits_RV: Tensor
    ) -> list[tuple[EngineSequence, StepResult]]:
        parts = logits_RV.float().chunk(len(group))  # of K logits; of one at the start, which the beams share
        return [
            (one, step_beams(one.beams, part)) for one, part in zip(group, parts, strict=True) if one.beams is not None
        ]

    def _end_run(self) -> None:
        self._decode_run, self._run_sequences = None, []
        self._attachments.close()

    def _start_run(self, group: Sequence[EngineSequence]) -> Tensor:
        self._run_sequences = list(group)
        sequences, base = self._run_sequences, self.base
        weights = sequences[0].decode_request.delta.weights
        deltas = [one.decode_request.delta for one in sequences]
        sources, kind = [one.decode_request.source for one in sequences], find_attached_kind(base)
        attachment = self._attachments.enter_context(attach_to_sources(base, deltas, sources))
        beams = sequences[0].request.num_beams
        run: Any = kind(base, attachment, sources, beams)
        if sequences[0].is_guided:

            def suspend_delta() -> AbstractContextManager[Any]:
                suspended = ExitStack()
                for part in (weights, attachment):
                    if part is not None:
                        suspended.enter_context(part.suspend())
                return suspended

            bare = [one.decode_request.bare_source for one in sequences]
            guidance = sequences[0].request.guidance
            run = GuidedRun(run, lambda: kind(base, None, bare, beams), guidance, suspend_delta)
        self._decode_run = run
        logits_RV: Tensor = run.logits_BV
        histories = [one.beams.histories if one.beams else [one.detokenizer.token_ids] for one in sequences]
        token_BKN = torch.tensor(histories, dtype=torch.long, device=base.device)
        for token_BK in token_BKN.unbind(2):
            logits_RV = run.step(token_BK)
        return logits_RV

    def _step_run(self, group: Sequence[EngineSequence]) -> Tensor:
        if len(group) < len(self._run_sequences):
            staying = [index for index, sequence in enumerate(self._run_sequences) if sequence in group]
            self._decode_run.keep(torch.tensor(staying, device=self.base.device))
            self._run_sequences = list(group)
        if group[0].beams is not None:
            parents = [one.beams.last_step.parents for one in group if one.beams is not None]
            self._decode_run.reorder(torch.tensor(parents, device=self.base.device))
        last = [one.beams.last_step.token_ids if one.beams else one.detokenizer.token_ids[-1:] for one in group]
        logits_RV: Tensor = self._decode_run.step(torch.tensor(last, device=self.base.device))
        return logits_RV


def _find_batch_key(sequence: EngineSequence) -> Sequence[float]:
    request = sequence.request
    return *sequence.decode_request.batch_key, request.guidance, request.num_beams
