"""The batch of a decoder-only base: one step lets every sequence in it read, and most of them generate a token.

One forward pass serves sequences with prefixes, infixes, soft prompts, demonstrations or nothing. Sequences with other
weights (adapters, LoRA, fine-tuned layers) get a forward pass of their own in the same step. Knows sequences and the KV
cache; does not know queues or threads.

Shapes: R sequences, K beams of a sequence, W logits of one forward pass, V vocabulary.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.errors import PrefixFleetError
from components.model.base.load import Base
from components.model.base.out_of_memory import is_out_of_memory
from components.model.decoding.controls import mix_logits
from components.serving.engine.beams import BeamStep, step_beams
from components.serving.engine.divided_cache import make_cache
from components.serving.engine.kv_cache import BranchInput
from components.serving.engine.sampler import SampledToken, Sampler
from components.serving.engine.sequence import EngineSequence, SequenceBranch
from components.serving.engine.step_errors import to_step_error
from components.serving.engine.step_shares import StepShares

_log = logging.getLogger(__name__)
StepResult = SampledToken | BeamStep | PrefixFleetError
_MIN_PREFILL_TOKENS = 16
"""Source tokens that a step reads at least, however many sequences generate."""


@dataclass(frozen=True, slots=True)
class _ScheduledBranch:
    """What one branch reads in this step."""

    sequence: EngineSequence
    branch: SequenceBranch
    token_count: int
    needs_logits: bool


class DecoderBatch:
    """Sequences with at most `max_branches` branches in all, which read about `step_tokens` tokens in a step."""

    def __init__(self, base: Base, max_branches: int, step_tokens: int) -> None:
        """Create the KV cache. Raises BaseModelError, see `KVCache`."""
        self.base, self.step_tokens = base, step_tokens
        self.kv_cache, self._sampler = make_cache(base, max_branches), Sampler(base)
        self.sequences: list[EngineSequence] = []
        self.source_tokens = 0
        self._shares = StepShares(max_branches)

    def activate(self) -> AbstractContextManager[None]:
        """Let the model use the KV cache inside the block; call `add` and `step` inside, from one thread."""
        return self.kv_cache.activate()

    def has_capacity_for(self, sequence: EngineSequence) -> bool:
        """Return whether the sequence can be added now."""
        return self.kv_cache.free_count >= sequence.branch_count

    def add(self, sequence: EngineSequence) -> None:
        """Add a sequence; call `has_capacity_for` first.

        Raises:
            BaseModelError: the base does not support the sequence's soft prompt.
            MemoryError: there is no memory for its prefix.
        """
        slots = None if sequence.request.guidance == 0 else sequence.loaded_artifact.build_slots(self.base)
        sequence.create_branches(slots, sequence.loaded_artifact.is_infix)
        for branch in (*sequence.branches, *sequence.idle_branches):
            branch.cache_index = self.kv_cache.allocate()
        self.sequences.append(sequence)
        try:
            for branch in sequence.branches:
                if not branch.is_infix:
                    self._write_branch_slots(branch)
        except BaseException:
            self.remove(sequence, wipe=True)
            raise

    def remove(self, sequence: EngineSequence, *, wipe: bool = False) -> None:
        """Remove a sequence; `wipe`: its cached values may be NaN."""
        self.sequences.remove(sequence)
        if not self.sequences:
            self._shares.pause()
        for branch in (*sequence.branches, *sequence.idle_branches):
            self.kv_cache.release(branch.cache_index, wipe=wipe)

    def step(self) -> list[tuple[EngineSequence, StepResult]]:
        """Run one step; returns (sequence, its new token or its error) for the sequences that have one.

        If a forward pass fails, it is repeated in halves, so that only the sequences that cause the error end. Those
        that run out of memory retry in the next step with fewer tokens per step; at the minimum, the largest one ends.
        """
        scheduled: dict[EngineSequence, list[_ScheduledBranch]] = {}
        for one in self._schedule():
            scheduled.setdefault(one.sequence, []).append(one)
        out_of_memory: dict[EngineSequence, PrefixFleetError] = {}
        results = self._step_with_bisection(list(scheduled.values()), out_of_memory)
        if out_of_memory and self.kv_cache.compact():
            _log.warning("out of memory: free blocks of the KV cache were released")
        elif out_of_memory and self.step_tokens > _MIN_PREFILL_TOKENS:
            self.step_tokens = max(self.step_tokens // 2, _MIN_PREFILL_TOKENS)
            _log.warning("out of memory: steps read about %d tokens from now on", self.step_tokens)
        elif out_of_memory:
            largest = max(out_of_memory, key=self._count_columns)
            results.append((largest, out_of_memory[largest]))
        return results

    def _count_columns(self, sequence: EngineSequence) -> int:
        return sum(self.kv_cache.cached_columns[branch.cache_index] for branch in sequence.branches)

    def _step_with_bisection(
        self, scheduled: Sequence[Sequence[_ScheduledBranch]], out_of_memory: dict[EngineSequence, PrefixFleetError]
    ) -> list[tuple[EngineSequence, StepResult]]:
        """Return the results of these sequences; those that run out of memory alone go into `out_of_memory`."""
        try:
            return self._forward([branch for branches in scheduled for branch in branches])
        except Exception as problem:  # noqa: BLE001 - any error: find the sequence that causes it
            if len(scheduled) == 1:
                sequence = scheduled[0][0].sequence
                if is_out_of_memory(problem):
                    # Not `problem`: its traceback would keep tensors of this step until garbage is collected.
                    out_of_memory[sequence] = to_step_error(problem)
                    return []
                return [(sequence, to_step_error(problem))]
        half = len(scheduled) // 2
        return [
            *self._step_with_bisection(scheduled[:half], out_of_memory),
            *self._step_with_bisection(scheduled[half:], out_of_memory),
        ]

    def _schedule(self) -> list[_ScheduledBranch]:
        sequences = self._shares.choose(self.sequences, time.monotonic())
        generating = sum(len(branch.pending_ids) == 1 for one in sequences for branch in one.branches)
        whole = budget = max(self.step_tokens - generating, _MIN_PREFILL_TOKENS)
        scheduled: list[_ScheduledBranch] = []
        for sequence in sequences:
            is_prefill = any(len(branch.pending_ids) > 1 for branch in sequence.branches)
            if is_prefill and budget <= 0:
                continue
            for branch, token_count, needs_logits in sequence.plan_reads(budget):
                scheduled.append(_ScheduledBranch(sequence, branch, token_count, needs_logits))
                budget -= token_count if is_prefill else 0
        self.source_tokens = whole - budget
        return scheduled

    def _write_branch_slots(self, branch: SequenceBranch) -> None:
        if branch.slots_L2HPD is not None:
            self.kv_cache.write_slots(branch.cache_index, branch.slots_L2HPD)
            branch.slots_L2HPD = None

    def _forward(self, scheduled: Sequence[_ScheduledBranch]) -> list[tuple[EngineSequence, StepResult]]:
        outputs: list[tuple[Tensor, list[_ScheduledBranch]]] = []
        for one in scheduled:
            if one.branch.is_infix and len(one.branch.pending_ids) == 1:
                self._write_branch_slots(one.branch)
        for weights, group in _group_by_weights(scheduled):
            inputs = [
                BranchInput(one.branch.cache_index, one.branch.pending_ids[: one.token_count], one.needs_logits)
                for one in group
            ]
            with nullcontext() if weights is None else weights.apply(self.base.model):
                outputs.append((self.kv_cache.forward(inputs), [one for one in group if one.needs_logits]))
        ready = [one.sequence for one in scheduled if one.needs_logits and one.branch is one.sequence.branches[0]]
        results = self._sample(ready, outputs) if ready else []
        for one in scheduled:
            self.kv_cache.advance(one.branch.cache_index, one.token_count)
            del one.branch.pending_ids[: one.token_count]
        for sequence, result in results:
            if isinstance(result, SampledToken):
                for branch in sequence.branches:
                    branch.pending_ids.append(result.token_id)
        return [self._fork_beams(sequence, result) for sequence, result in results]

    def _fork_beams(self, sequence: EngineSequence, result: StepResult) -> tuple[EngineSequence, StepResult]:
        """Let the beams of a search that goes on continue from those that they were chosen from."""
        if isinstance(result, BeamStep) and result.answer is None:
            try:
                self.kv_cache.fork(*sequence.list_forks(result.parents))
            except Exception as problem:  # noqa: BLE001 - the others' tokens are chosen: only this row ends
                return sequence, to_step_error(problem)
            sequence.start_beams(result.token_ids)
        return sequence, result

    def _sample(
        self, ready: Sequence[EngineSequence], outputs: Sequence[tuple[Tensor, Sequence[_ScheduledBranch]]]
    ) -> list[tuple[EngineSequence, StepResult]]:
        single = [sequence for sequence in ready if sequence.beams is None]
        if len(outputs) == 1 and len(outputs[0][1]) == len(single):
            return list(zip(single, self._sampler.sample(outputs[0][0], single), strict=True))
        logits: dict[int, Tensor] = {}
        for group_WV, group in outputs:
            logits |= {id(one.branch): logits_V for one, logits_V in zip(group, group_WV, strict=True)}
        results: list[tuple[EngineSequence, StepResult]] = []
        if single:
            logits_RV = torch.cat([_mix_guidance(sequence, logits) for sequence in single])
            results += zip(single, self._sampler.sample(logits_RV, single), strict=True)
        for sequence in ready:
            if sequence.beams is not None:
                results.append((sequence, step_beams(sequence.beams, _mix_guidance(sequence, logits))))
        return results


def _group_by_weights(scheduled: Sequence[_ScheduledBranch]) -> Iterator[tuple[Any, list[_ScheduledBranch]]]:
    """Yield (weights, the branches that compute with them); None: the base's own weights."""
    groups: dict[int, tuple[Any, list[_ScheduledBranch]]] = {}
    for one in scheduled:
        weights = one.sequence.decode_request.delta.weights if one.branch.uses_delta else None
        groups.setdefault(id(weights), (weights, []))[1].append(one)
    yield from groups.values()


def _mix_guidance(sequence: EngineSequence, logits: dict[int, Tensor]) -> Tensor:
    """Return the logits [K, V] of a row's beams; K is 1 without a beam search and at its start."""
    logits_KV = torch.stack([logits[id(branch)] for branch in sequence.branches]).float()
    if not sequence.is_guided:
        return logits_KV
    guidance_1 = torch.full((1,), sequence.request.guidance, device=logits_KV.device)
    return mix_logits(logits_KV[::2], logits_KV[1::2], guidance_1)
