"""Train many tenants in one pass over the frozen base, each with its own steps; the base stays as it is.

Rows of all tenants that are in training share passes of like lengths; every tenant has its own order of examples, loss,
clipping, optimizer, schedule, validations, best delta and state. Who is done leaves and the next one enters; one whose
loss is not finite leaves with an error and touches nobody. Does not know trackers or where data comes from.

Nothing random happens here: the order of examples is a function of seed and epoch, and the base runs without dropout.
So a run alone that was stopped and resumed on the same CPU equals one that was not, bit by bit; in company it equals
the run alone but for rounding.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch

from components.config import EngineConfig
from components.data.batches import by_tokens
from components.data.pairs import Encoded
from components.errors import PrefixFleetError, TrainingError, WorkspaceError
from components.model.base.activation import compiled_activations
from components.model.base.load import Base
from components.model.base.out_of_memory import out_of_memory
from components.model.delta import Delta
from components.training.admission import check_examples, example_too_large, kind_of, step_tokens, tenant_too_large
from components.training.distributed.passes import Peers
from components.training.memory import Room, tenant_bytes
from components.training.objective import Deltas, Row, Sums
from components.training.run import Job, Run, TrainResult, spaced

_PASSES_AHEAD = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Ended:
    """One tenant's run that has left the shard: done, stopped, or in trouble."""

    job: Job
    result: TrainResult | PrefixFleetError


def train_together(
    base: Base, jobs: Iterable[Job], engine: EngineConfig | None = None, peers: Peers | None = None
) -> Iterator[Ended]:
    """Train every job and give each back as soon as it ends; jobs are drawn when there is room for them.

    A module that trains nothing (in-context, no slots) is validated once and left as it is. Jobs of methods with
    weights of their own (full, adapter, ...) run alone. `peers` compute the passes: this process alone where none are
    given. Ctrl-C, closing the iterator and the end of a peer save what is in training.

    An end in trouble is a TrainingError (no examples, one that does not fit the context or the memory, a loss that is
    not finite) or a WorkspaceError (its state cannot be read or written).

    Raises:
        TrainingError: a peer has ended.
    """
    shard = _Shard(base, engine or EngineConfig(), peers or Peers())
    waiting = iter(jobs)
    ahead = next(waiting, None)
    try:
        while ahead is not None or shard.runs:
            while ahead is not None and shard.takes(ahead):
                problem = shard.enter(ahead)
                if problem is not None:
                    yield Ended(ahead, problem)
                ahead = next(waiting, None)
            yield from shard.until_somebody_ends()
    except (KeyboardInterrupt, GeneratorExit, TrainingError):
        shard.save()
        raise


def train_alone(base: Base, job: Job, engine: EngineConfig | None = None) -> TrainResult:
    """Train one job. Raises what `train_together` gives back as an end in trouble."""
    (ended,) = train_together(base, [job], engine)
    if isinstance(ended.result, PrefixFleetError):
        raise ended.result
    return ended.result


class _Shard:
    """The runs that are in training together."""

    def __init__(self, base: Base, engine: EngineConfig, peers: Peers) -> None:
        self.base, self.engine, self.peers = base, engine, peers
        self.runs: list[Run] = []
        self.aside: list[Run] = []
        """They wait, for want of memory, until the others have ended."""
        self.troubles: list[tuple[Run, PrefixFleetError]] = []
        self.room: Room | None = None

    def takes(self, job: Job) -> bool:
        """Whether `job` may join: its kind is that of the others, there is memory for it, and passes want filling."""
        if not self.runs:
            return True
        if self.aside or self.room is None or kind_of(job) is None or kind_of(job) != kind_of(self.runs[0].job):
            return False
        jobs = [*(run.job for run in self.runs), job]
        fits = sum(tenant_bytes(one.module, one.train) for one in jobs) <= self.room.tenant_bytes
        return fits and sum(map(step_tokens, jobs[:-1])) < _PASSES_AHEAD * self.peers.count * self.room.tokens

    def enter(self, job: Job) -> PrefixFleetError | None:
        """Let `job` begin or resume, unless its examples cannot be trained on or its state cannot be looked at."""
        if self.room is None:
            self.room = Room.of(self.base, self.engine)
        try:
            check_examples(self.base, job)
            self.runs.append(Run(job))
        except PrefixFleetError as problem:
            return problem
        return None

    def save(self) -> None:
        """Save every run; a state that cannot be written keeps no other from being written."""
        for run in (*self.runs, *self.aside):
            try:
                run.save()
            except WorkspaceError as problem:
                _log.warning("%s: its training is not saved: %s", run.job.tenant, problem)

    def until_somebody_ends(self) -> list[Ended]:
        """Go on step by step until at least one run has left."""
        if not self.runs:
            return []
        model = self.base.model
        compiled = compiled_activations(model) if self.engine.compile else nullcontext()
        with compiled, self.runs[0].installed(model):
            while True:
                self._validate([run for run in self.runs if run.due])
                for run in self.runs:
                    if not run.over and run.job.stop():
                        run.stopped = True
                        with self._guarded(run):
                            run.save()
                staying = [run for run in self.runs if not run.over and not run.stopped and not self._troubled(run)]
                if len(staying) < len(self.runs):
                    break
                self._update()
        return self._leave(staying)

    def _leave(self, staying: list[Run]) -> list[Ended]:
        done = [run for run in self.runs if run not in staying and not self._troubled(run)]
        ended = [Ended(run.job, problem) for run, problem in self.troubles] + [self._result(run) for run in done]
        self.runs, self.troubles = staying, []
        if not staying:
            self.runs, self.aside = self.aside, []
        return ended

    def _validate(self, due: list[Run]) -> None:
        if not due:
            return
        losses = self._losses(due, [run.module.delta() for run in due], [run.validation for run in due])
        if losses is None:
            self._validate([run for run in due if not self._troubled(run)])
            return
        for run, loss in zip(due, losses, strict=True):
            with self._guarded(run):
                run.validated(loss)
                run.save()
                run.job.log(run.progress.step, run.metrics())

    def _update(self) -> None:
        began = time.monotonic()
        batches = [run.pairs() for run in self.runs]
        rows = [
            Row(owner, pair, run.share(pairs))
            for owner, (run, pairs) in enumerate(zip(self.runs, batches, strict=True))
            for pair in pairs
        ]
        try:
            deltas = Deltas(self.base, [run.module.delta() for run in self.runs], self.engine)
            sums = self._passes(self.runs, rows, deltas, train=True)
            if sums is None:
                return
            deltas.finish()
        except (RuntimeError, MemoryError) as problem:
            if not out_of_memory(problem):
                raise
            self._part()
            return
        for run, nats, count in zip(self.runs, sums.nats_U.tolist(), sums.count_U.tolist(), strict=True):
            with self._guarded(run):
                run.update(nats, count)
        a_token = (time.monotonic() - began) / sum(row.pair.length for row in rows)
        for run, pairs in zip(self.runs, batches, strict=True):
            run.progress.seconds += a_token * sum(pair.length for pair in pairs)

    def _part(self) -> None:
        """Go on with half of the runs, and with the others when these have ended; one that is alone is in trouble."""
        for run in self.runs:
            run.optimizer.zero_grad(set_to_none=True)
        if len(self.runs) == 1:
            self.troubles.append((self.runs[0], tenant_too_large(self.runs[0].job)))
            return
        half = (len(self.runs) + 1) // 2
        self.runs, self.aside = self.runs[:half], self.runs[half:] + self.aside
        _log.warning("out of memory: %d tenants wait until %d have ended", len(self.aside), half)

    def _result(self, run: Run) -> Ended:
        untrained = 0.0
        if run.train_loss is None:
            losses = self._losses([run], [run.best], [spaced(run.job.train)])
            if losses is None:
                return Ended(run.job, self.troubles.pop()[1])
            (untrained,) = losses
        return Ended(run.job, run.result(untrained))

    def _losses(
        self, runs: Sequence[Run], deltas: Sequence[Delta], sets: Sequence[Sequence[Encoded]]
    ) -> list[float] | None:
        """Nats a target token of every set under its delta; None when a run had to leave for want of memory."""
        rows = [Row(owner, pair) for owner, pairs in enumerate(sets) for pair in pairs]
        try:
            with torch.no_grad():
                sums = self._passes(runs, rows, Deltas(self.base, deltas, self.engine), train=False)
            return None if sums is None else (sums.nats_U / sums.count_U).tolist()
        except (RuntimeError, MemoryError) as problem:
            if not out_of_memory(problem):
                raise
        if len(runs) == 1:
            self.troubles.append((runs[0], tenant_too_large(runs[0].job)))
            return None
        half = len(runs) // 2
        parts = [self._losses(runs[part], deltas[part], sets[part]) for part in (slice(half), slice(half, None))]
        return None if None in parts else [loss for part in parts for loss in part or ()]

    def _passes(self, runs: Sequence[Run], rows: list[Row], deltas: Deltas, *, train: bool) -> Sums | None:
        """All rows in as many passes as they need; smaller ones, from the beginning, when memory runs out.

        None when not even one row fits: its tenant is in trouble then.
        """
        assert self.room is not None  # noqa: S101 - set when the first run entered
        lengths, roomy = [row.pair.length for row in rows], self.room
        checkpointing = train and runs[0].config.gradient_checkpointing
        while True:
            try:
                return self.peers.passes(deltas, rows, self.room.tokens, train=train, checkpointing=checkpointing)
            except (RuntimeError, MemoryError) as problem:
                if not out_of_memory(problem):
                    raise
                deltas.forget()
                for run in runs:
                    run.optimizer.zero_grad(set_to_none=True)
            groups = by_tokens(lengths, self.room.tokens)
            if max(map(len, groups)) == 1:
                row, self.room = rows[groups[0][0]], roomy  # the others may still fit
                self.troubles.append((runs[row.owner], example_too_large(row.pair.length)))
                return None
            self.room = replace(self.room, tokens=max(1, min(self.room.tokens, sum(lengths)) // 2))
            _log.warning("out of memory: passes of at most %d tokens from here on", self.room.tokens)

    def _troubled(self, run: Run) -> bool:
        return any(run is one for one, _ in self.troubles)

    @contextmanager
    def _guarded(self, run: Run) -> Iterator[None]:
        """Trouble of one run is noted, and is nobody else's."""
        try:
            yield
        except PrefixFleetError as problem:
            self.troubles.append((run, problem))
        except (RuntimeError, MemoryError) as problem:
            if not out_of_memory(problem):
                raise
            run.optimizer.zero_grad(set_to_none=True)
            self.troubles.append((run, tenant_too_large(run.job)))
