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
from components.model.base.out_of_memory import out_of_memory
from components.model.decoding.controls import guided
from components.serving.engine.kv_cache import Read, Room
from components.serving.engine.sampler import Asking, Chooser, Chosen
from components.serving.engine.sequence import Reader, Row
from components.serving.interface import BusyError

_log = logging.getLogger(__name__)
Outcome = Chosen | PrefixFleetError
_RETRY_S = 1.0
_LEAST_READ = 16
"""Ids of sources that a step reads at least, however many rows write."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one reader does in this step."""

    row: Row
    reader: Reader
    take: int
    wanted: bool


class Batch:
    """The rows on their way, at most so many places of them, reading about `step_tokens` ids a step."""

    def __init__(self, base: Base, places: int, step_tokens: int) -> None:
        """Make room. Raises BaseModelError as `Room`."""
        self.base, self.step_tokens = base, step_tokens
        self.room, self._chooser = Room(base, places), Chooser(base)
        self.rows: list[Row] = []

    def open(self) -> AbstractContextManager[None]:
        """Inside, rows can enter and step; from one thread."""
        return self.room.open()

    def takes(self, row: Row) -> bool:
        """Whether there is a place for it."""
        return self.room.free >= row.places

    def enter(self, row: Row) -> None:
        """Let a row in, which `takes` says there is a place for.

        Raises:
            BaseModelError: the base makes nothing of its soft prompt.
        """
        slots = None if row.request.guidance == 0 else row.resident.slots(self.base)
        row.start(slots, row.resident.infix)
        for reader in row.readers:
            reader.place = self.room.enter()
        self.rows.append(row)
        try:
            for reader in row.readers:
                if not reader.infix:
                    self._put(reader)
        except BaseException:
            self.leave(row, wipe=True)
            raise

    def leave(self, row: Row, *, wipe: bool = False) -> None:
        """Let a row go."""
        self.rows.remove(row)
        for reader in row.readers:
            self.room.leave(reader.place, wipe=wipe)

    def step(self) -> list[tuple[Row, Outcome]]:
        """Let rows read; tells of each that wrote its token, or why it cannot go on.

        Rows whose forward fails are computed in halves, so that one whose trouble it is ends alone. Those that find no
        memory try again in the next step, with smaller pieces; once there are none, the one that holds most ends.
        """
        plans: dict[Row, list[_Plan]] = {}
        for plan in self._plans():
            plans.setdefault(plan.row, []).append(plan)
        short: dict[Row, Exception] = {}
        outcomes = self._halved(list(plans.values()), short)
        if short and self.room.tighten():
            _log.warning("out of memory: what rows have left behind is given back")
        elif short and self.step_tokens > _LEAST_READ:
            self.step_tokens = max(self.step_tokens // 2, _LEAST_READ)
            _log.warning("out of memory: about %d tokens a step from here on", self.step_tokens)
        elif short:
            largest = max(short, key=lambda row: sum(self.room.used[reader.place] for reader in row.readers))
            outcomes.append((largest, failed(short[largest])))
        return outcomes

    def _halved(self, plans: Sequence[Sequence[_Plan]], short: dict[Row, Exception]) -> list[tuple[Row, Outcome]]:
        """The outcomes of these rows' plans; `short` takes in the rows for which alone there is no memory."""
        try:
            return self._forward([plan for own in plans for plan in own])
        except Exception as problem:  # noqa: BLE001 - whatever it is, find the row whose trouble it is
            if len(plans) == 1:
                row = plans[0][0].row
                if out_of_memory(problem):
                    short[row] = problem
                    return []
                return [(row, failed(problem))]
        half = len(plans) // 2
        return [*self._halved(plans[:half], short), *self._halved(plans[half:], short)]

    def _plans(self) -> list[_Plan]:
        writing = sum(len(reader.todo) == 1 for row in self.rows for reader in row.readers)
        budget = max(self.step_tokens - writing, _LEAST_READ)
        plans: list[_Plan] = []
        for row in self.rows:
            reading = any(len(reader.todo) > 1 for reader in row.readers)
            if reading and budget <= 0:
                continue
            for reader, take, wanted in row.reads(budget):
                plans.append(_Plan(row, reader, take, wanted))
                budget -= take if reading else 0
        return plans

    def _put(self, reader: Reader) -> None:
        if reader.slots_L2HPD is not None:
            self.room.put(reader.place, reader.slots_L2HPD)
            reader.slots_L2HPD = None

    def _forward(self, plans: Sequence[_Plan]) -> list[tuple[Row, Outcome]]:
        found: list[tuple[Tensor, list[_Plan]]] = []
        for plan in plans:
            if plan.reader.infix and len(plan.reader.todo) == 1:
                self._put(plan.reader)
        for weights, part in _by_weights(plans):
            reads = [Read(plan.reader.place, plan.reader.todo[: plan.take], plan.wanted) for plan in part]
            with nullcontext() if weights is None else weights.applied(self.base.model):
                found.append((self.room.read(reads), [plan for plan in part if plan.wanted]))
        ready = [plan.row for plan in plans if plan.wanted and plan.reader is plan.row.readers[0]]
        outcomes = self._chosen(ready, found) if ready else []
        for plan in plans:
            self.room.advance(plan.reader.place, plan.take)
            del plan.reader.todo[: plan.take]
        for row, outcome in outcomes:
            if isinstance(outcome, Chosen):
                for reader in row.readers:
                    reader.todo.append(outcome.token)
        return outcomes

    def _chosen(
        self, ready: Sequence[Row], found: Sequence[tuple[Tensor, Sequence[_Plan]]]
    ) -> list[tuple[Row, Outcome]]:
        if len(found) == 1 and len(found[0][1]) == len(ready):
            logits_RV = found[0][0]
        else:
            logits: dict[int, Tensor] = {}
            for each_WV, wanted in found:
                logits |= {id(plan.reader): logits_V for plan, logits_V in zip(wanted, each_WV, strict=True)}
            logits_RV = torch.stack([_mixed(row, logits) for row in ready])
        asking = [Asking(row.request, row.draws, row.last) for row in ready]
        return list(zip(ready, self._chooser.choose(logits_RV, asking), strict=True))


def _by_weights(plans: Sequence[_Plan]) -> Iterator[tuple[Any, list[_Plan]]]:
    """The plans of readers that compute with the same weights; those with the base's own first."""
    groups: dict[int, tuple[Any, list[_Plan]]] = {}
    for plan in plans:
        weights = plan.row.work.delta.weights if plan.reader.under_delta else None
        groups.setdefault(id(weights), (weights, []))[1].append(plan)
    yield from groups.values()


def _mixed(row: Row, logits: dict[int, Tensor]) -> Tensor:
    if not row.guided:
        return logits[id(row.readers[0])].float()
    with_V, bare_V = (logits[id(reader)].float() for reader in row.readers)
    share_1 = torch.full((1,), row.request.guidance, device=with_V.device)
    return guided(with_V, bare_V, share_1)


def failed(problem: Exception) -> PrefixFleetError:
    """What a row is told of whatever a step raised; BusyError where memory was short."""
    if isinstance(problem, PrefixFleetError):
        return problem
    if out_of_memory(problem):
        fix = "ask again later; where it comes back, lower serve.rows"
        return BusyError("memory for one row more", "too little", fix, retry_after=_RETRY_S)
    _log.warning("a step of the base failed", exc_info=problem)
    told = " ".join(str(problem).split())[:400]
    fix = "ask again; where it comes back, look into the server's log"
    return BaseModelError("a step of the base", f"{type(problem).__name__}: {told}", fix)
