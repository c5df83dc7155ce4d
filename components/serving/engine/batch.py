"""All rows of a decoder-only base that are on their way: one step lets every one read and most write a token.

One forward serves rows of prefixes, infixes, soft prompts, demonstrations and none; rows of other weights get one of
their own in the same step, as do the bare twins of such rows. Knows rows and the room; does not know queues or threads.

Shapes: V vocabulary.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from components.errors import BaseModelError, PrefixFleetError
from components.model.base.load import Base
from components.model.base.out_of_memory import is_out_of_memory
from components.model.decoding.controls import mix_logits
from components.serving.engine.kv_cache import BranchInput, KVCache
from components.serving.engine.sampler import SampledToken, Sampler, SamplingRequest
from components.serving.engine.sequence import EngineSequence, SequenceBranch
from components.serving.interface import BusyError

_log = logging.getLogger(__name__)
StepResult = SampledToken | PrefixFleetError
_RETRY_AFTER_S = 1.0
_MIN_PREFILL_TOKENS = 16
"""Ids of sources that a step reads at least, however many rows write."""


@dataclass(frozen=True, slots=True)
class _ScheduledBranch:
    """What one reader does in this step."""

    sequence: EngineSequence
    branch: SequenceBranch
    token_count: int
    needs_logits: bool


class DecoderBatch:
    """The rows on their way, at most so many places of them, reading about `step_tokens` ids a step."""

    def __init__(self, base: Base, max_branches: int, step_tokens: int) -> None:
        """Make room. Raises BaseModelError as `KVCache`."""
        self.base, self.step_tokens = base, step_tokens
        self.kv_cache, self._sampler = KVCache(base, max_branches), Sampler(base)
        self.sequences: list[EngineSequence] = []

    def activate(self) -> AbstractContextManager[None]:
        """Inside, rows can enter and step; from one thread."""
        return self.kv_cache.activate()

    def has_capacity_for(self, row: EngineSequence) -> bool:
        """Whether there is a place for it."""
        return self.kv_cache.free_count >= row.branch_count

    def add(self, row: EngineSequence) -> None:
        """Let a row in, which `has_capacity_for` says there is a place for.

        Raises:
            BaseModelError: the base makes nothing of its soft prompt.
        """
        slots = None if row.request.guidance == 0 else row.loaded_artifact.build_slots(self.base)
        row.create_branches(slots, row.loaded_artifact.is_infix)
        for reader in row.branches:
            reader.cache_index = self.kv_cache.allocate()
        self.sequences.append(row)
        try:
            for reader in row.branches:
                if not reader.is_infix:
                    self._write_branch_slots(reader)
        except BaseException:
            self.remove(row, wipe=True)
            raise

    def remove(self, row: EngineSequence, *, wipe: bool = False) -> None:
        """Let a row go."""
        self.sequences.remove(row)
        for reader in row.branches:
            self.kv_cache.release(reader.cache_index, wipe=wipe)

    def step(self) -> list[tuple[EngineSequence, StepResult]]:
        """Let rows read; tells of each that wrote its token, or why it cannot go on.

        Rows whose forward fails are computed in halves, so that one whose trouble it is ends alone. Those that find no
        memory try again in the next step, with smaller pieces; once there are none, the one that holds most ends.
        """
        plans: dict[EngineSequence, list[_ScheduledBranch]] = {}
        for plan in self._schedule():
            plans.setdefault(plan.sequence, []).append(plan)
        short: dict[EngineSequence, Exception] = {}
        outcomes = self._step_with_bisection(list(plans.values()), short)
        if short and self.kv_cache.compact():
            _log.warning("out of memory: what rows have left behind is given back")
        elif short and self.step_tokens > _MIN_PREFILL_TOKENS:
            self.step_tokens = max(self.step_tokens // 2, _MIN_PREFILL_TOKENS)
            _log.warning("out of memory: about %d tokens a step from here on", self.step_tokens)
        elif short:
            largest = max(
                short, key=lambda row: sum(self.kv_cache.cached_columns[reader.cache_index] for reader in row.branches)
            )
            outcomes.append((largest, to_step_error(short[largest])))
        return outcomes

    def _step_with_bisection(
        self, plans: Sequence[Sequence[_ScheduledBranch]], short: dict[EngineSequence, Exception]
    ) -> list[tuple[EngineSequence, StepResult]]:
        """The outcomes of these rows' plans; `short` takes in the rows for which alone there is no memory."""
        try:
            return self._forward([plan for own in plans for plan in own])
        except Exception as problem:  # noqa: BLE001 - whatever it is, find the row whose trouble it is
            if len(plans) == 1:
                row = plans[0][0].sequence
                if is_out_of_memory(problem):
                    short[row] = problem
                    return []
                return [(row, to_step_error(problem))]
        half = len(plans) // 2
        return [*self._step_with_bisection(plans[:half], short), *self._step_with_bisection(plans[half:], short)]

    def _schedule(self) -> list[_ScheduledBranch]:
        writing = sum(len(reader.pending_ids) == 1 for row in self.sequences for reader in row.branches)
        budget = max(self.step_tokens - writing, _MIN_PREFILL_TOKENS)
        plans: list[_ScheduledBranch] = []
        for row in self.sequences:
            reading = any(len(reader.pending_ids) > 1 for reader in row.branches)
            if reading and budget <= 0:
                continue
            for reader, take, wanted in row.plan_reads(budget):
                plans.append(_ScheduledBranch(row, reader, take, wanted))
                budget -= take if reading else 0
        return plans

    def _write_branch_slots(self, reader: SequenceBranch) -> None:
        if reader.slots_L2HPD is not None:
            self.kv_cache.write_slots(reader.cache_index, reader.slots_L2HPD)
            reader.slots_L2HPD = None

    def _forward(self, plans: Sequence[_ScheduledBranch]) -> list[tuple[EngineSequence, StepResult]]:
        found: list[tuple[Tensor, list[_ScheduledBranch]]] = []
        for plan in plans:
            if plan.branch.is_infix and len(plan.branch.pending_ids) == 1:
                self._write_branch_slots(plan.branch)
        for weights, part in _group_by_weights(plans):
            reads = [
                BranchInput(plan.branch.cache_index, plan.branch.pending_ids[: plan.token_count], plan.needs_logits)
                for plan in part
            ]
            with nullcontext() if weights is None else weights.apply(self.base.model):
                found.append((self.kv_cache.forward(reads), [plan for plan in part if plan.needs_logits]))
        ready = [plan.sequence for plan in plans if plan.needs_logits and plan.branch is plan.sequence.branches[0]]
        outcomes = self._sample(ready, found) if ready else []
        for plan in plans:
            self.kv_cache.advance(plan.branch.cache_index, plan.token_count)
            del plan.branch.pending_ids[: plan.token_count]
        for row, outcome in outcomes:
            if isinstance(outcome, SampledToken):
                for reader in row.branches:
                    reader.pending_ids.append(outcome.token_id)
        return outcomes

    def _sample(
        self, ready: Sequence[EngineSequence], found: Sequence[tuple[Tensor, Sequence[_ScheduledBranch]]]
    ) -> list[tuple[EngineSequence, StepResult]]:
        if len(found) == 1 and len(found[0][1]) == len(ready):
            logits_RV = found[0][0]
        else:
            logits: dict[int, Tensor] = {}
            for each_WV, wanted in found:
                logits |= {id(plan.branch): logits_V for plan, logits_V in zip(wanted, each_WV, strict=True)}
            logits_RV = torch.stack([_mix_guidance(row, logits) for row in ready])
        asking = [SamplingRequest(row.request, row.draws, row.is_last_token) for row in ready]
        return list(zip(ready, self._sampler.sample(logits_RV, asking), strict=True))


def _group_by_weights(plans: Sequence[_ScheduledBranch]) -> Iterator[tuple[Any, list[_ScheduledBranch]]]:
    """The plans of readers that compute with the same weights; those with the base's own first."""
    groups: dict[int, tuple[Any, list[_ScheduledBranch]]] = {}
    for plan in plans:
        weights = plan.sequence.decode_request.delta.weights if plan.branch.uses_delta else None
        groups.setdefault(id(weights), (weights, []))[1].append(plan)
    yield from groups.values()


def _mix_guidance(row: EngineSequence, logits: dict[int, Tensor]) -> Tensor:
    if not row.is_guided:
        return logits[id(row.branches[0])].float()
    with_V, bare_V = (logits[id(reader)].float() for reader in row.branches)
    share_1 = torch.full((1,), row.request.guidance, device=with_V.device)
    return mix_logits(with_V, bare_V, share_1)


def to_step_error(problem: Exception) -> PrefixFleetError:
    """What a row is told of whatever a step raised; BusyError where memory was short."""
    if isinstance(problem, PrefixFleetError):
        return problem
    if is_out_of_memory(problem):
        fix = "ask again later; where it comes back, lower serve.rows"
        return BusyError("memory for one row more", "too little", fix, retry_after=_RETRY_AFTER_S)
    _log.warning("a step of the base failed", exc_info=problem)
    told = " ".join(str(problem).split())[:400]
    fix = "ask again; where it comes back, look into the server's log"
    return BaseModelError("a step of the base", f"{type(problem).__name__}: {told}", fix)
