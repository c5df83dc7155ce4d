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
from components.data.batches import group_by_tokens
from components.data.pairs import TokenizedPair
from components.errors import PrefixFleetError, TrainingError, WorkspaceError
from components.model.base.activation import compile_activations
from components.model.base.load import Base
from components.model.base.out_of_memory import is_out_of_memory
from components.model.delta import Delta
from components.training.admission import (
    check_examples,
    estimate_step_tokens,
    find_pass_group,
    make_example_too_large_error,
    make_tenant_too_large_error,
)
from components.training.distributed.passes import PassRunner
from components.training.memory import MemoryBudget, estimate_tenant_bytes
from components.training.objective import LossSums, StepDeltas, TrainingExample
from components.training.run import TenantRun, TrainingJob, TrainResult, sample_evenly

_PASSES_AHEAD = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EndedRun:
    """One tenant's run that has left the shard: done, stopped, or in trouble."""

    job: TrainingJob
    result: TrainResult | PrefixFleetError


def train_together(
    base: Base, jobs: Iterable[TrainingJob], engine: EngineConfig | None = None, pass_runner: PassRunner | None = None
) -> Iterator[EndedRun]:
    """Train every job and give each back as soon as it ends; jobs are drawn when there is room for them.

    A module that trains nothing (in-context, no slots) is validated once and left as it is. Jobs of methods with
    weights of their own (full, adapter, ...) run alone. `pass_runner` compute the passes: this process alone where none
    are given. Ctrl-C, closing the iterator and the end of a peer save what is in training.

    An end in trouble is a TrainingError (no examples, one that does not fit the context or the memory, a loss that is
    not finite) or a WorkspaceError (its state cannot be read or written).

    Raises:
        TrainingError: a peer has ended.
    """
    shard = _Shard(base, engine or EngineConfig(), pass_runner or PassRunner())
    waiting = iter(jobs)
    ahead = next(waiting, None)
    try:
        while ahead is not None or shard.runs:
            while ahead is not None and shard.can_admit(ahead):
                problem = shard.admit(ahead)
                if problem is not None:
                    yield EndedRun(ahead, problem)
                ahead = next(waiting, None)
            yield from shard.train_until_a_run_ends()
    except (KeyboardInterrupt, GeneratorExit, TrainingError):
        shard.save_all()
        raise


def train_alone(base: Base, job: TrainingJob, engine: EngineConfig | None = None) -> TrainResult:
    """Train one job. Raises what `train_together` gives back as an end in trouble."""
    (ended,) = train_together(base, [job], engine)
    if isinstance(ended.result, PrefixFleetError):
        raise ended.result
    return ended.result


class _Shard:
    """The runs that are in training together."""

    def __init__(self, base: Base, engine: EngineConfig, peers: PassRunner) -> None:
        self.base, self.engine, self.pass_runner = base, engine, peers
        self.runs: list[TenantRun] = []
        self.deferred_runs: list[TenantRun] = []
        """They wait, for want of memory, until the others have ended."""
        self.failures: list[tuple[TenantRun, PrefixFleetError]] = []
        self.budget: MemoryBudget | None = None

    def can_admit(self, job: TrainingJob) -> bool:
        """Whether `job` may join: its kind is that of the others, there is memory for it, and passes want filling."""
        if not self.runs:
            return True
        if (
            self.deferred_runs
            or self.budget is None
            or find_pass_group(job) is None
            or find_pass_group(job) != find_pass_group(self.runs[0].job)
        ):
            return False
        jobs = [*(run.job for run in self.runs), job]
        fits = sum(estimate_tenant_bytes(one.module, one.train) for one in jobs) <= self.budget.tenant_bytes
        return (
            fits
            and sum(map(estimate_step_tokens, jobs[:-1]))
            < _PASSES_AHEAD * self.pass_runner.process_count * self.budget.pass_tokens
        )

    def admit(self, job: TrainingJob) -> PrefixFleetError | None:
        """Let `job` begin or resume, unless its examples cannot be trained on or its state cannot be looked at."""
        if self.budget is None:
            self.budget = MemoryBudget.estimate(self.base, self.engine)
        try:
            check_examples(self.base, job)
            self.runs.append(TenantRun(job))
        except PrefixFleetError as problem:
            return problem
        return None

    def save_all(self) -> None:
        """Save every run; a state that cannot be written keeps no other from being written."""
        for run in (*self.runs, *self.deferred_runs):
            try:
                run.save()
            except WorkspaceError as problem:
                _log.warning("%s: its training is not saved: %s", run.job.tenant, problem)

    def train_until_a_run_ends(self) -> list[EndedRun]:
        """Go on step by step until at least one run has left."""
        if not self.runs:
            return []
        model = self.base.model
        compiled = compile_activations(model) if self.engine.compile else nullcontext()
        with compiled, self.runs[0].install(model):
            while True:
                self._validate([run for run in self.runs if run.is_validation_due])
                for run in self.runs:
                    if not run.is_finished and run.job.stop():
                        run.is_stopped = True
                        with self._catch_failure(run):
                            run.save()
                staying = [
                    run for run in self.runs if not run.is_finished and not run.is_stopped and not self._has_failed(run)
                ]
                if len(staying) < len(self.runs):
                    break
                self._update_parameters()
        return self._remove_ended(staying)

    def _remove_ended(self, staying: list[TenantRun]) -> list[EndedRun]:
        done = [run for run in self.runs if run not in staying and not self._has_failed(run)]
        ended = [EndedRun(run.job, problem) for run, problem in self.failures] + [
            self._make_result(run) for run in done
        ]
        self.runs, self.failures = staying, []
        if not staying:
            self.runs, self.deferred_runs = self.deferred_runs, []
        return ended

    def _validate(self, due: list[TenantRun]) -> None:
        if not due:
            return
        losses = self._compute_losses(
            due, [run.module.make_delta() for run in due], [run.validation_examples for run in due]
        )
        if losses is None:
            self._validate([run for run in due if not self._has_failed(run)])
            return
        for run, loss in zip(due, losses, strict=True):
            with self._catch_failure(run):
                run.record_validation(loss)
                run.save()
                run.job.log(run.progress.step, run.collect_metrics())

    def _update_parameters(self) -> None:
        began = time.monotonic()
        batches = [run.select_batch() for run in self.runs]
        rows = [
            TrainingExample(owner, pair, run.compute_token_weight(pairs))
            for owner, (run, pairs) in enumerate(zip(self.runs, batches, strict=True))
            for pair in pairs
        ]
        try:
            deltas = StepDeltas(self.base, [run.module.make_delta() for run in self.runs])
            sums = self._run_passes(self.runs, rows, deltas, train=True)
            if sums is None:
                return
            deltas.propagate_gradients()
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            self._defer_half()
            return
        for run, nats, count in zip(self.runs, sums.nats_U.tolist(), sums.count_U.tolist(), strict=True):
            with self._catch_failure(run):
                run.update(nats, count)
        a_token = (time.monotonic() - began) / sum(row.pair.length for row in rows)
        for run, pairs in zip(self.runs, batches, strict=True):
            run.progress.seconds += a_token * sum(pair.length for pair in pairs)

    def _defer_half(self) -> None:
        """Go on with half of the runs, and with the others when these have ended; one that is alone is in trouble."""
        for run in self.runs:
            run.optimizer.zero_grad(set_to_none=True)
        if len(self.runs) == 1:
            self.failures.append((self.runs[0], make_tenant_too_large_error(self.runs[0].job)))
            return
        half = (len(self.runs) + 1) // 2
        self.runs, self.deferred_runs = self.runs[:half], self.runs[half:] + self.deferred_runs
        _log.warning("out of memory: %d tenants wait until %d have ended", len(self.deferred_runs), half)

    def _make_result(self, run: TenantRun) -> EndedRun:
        untrained = 0.0
        if run.train_loss is None:
            losses = self._compute_losses([run], [run.best_delta], [sample_evenly(run.job.train)])
            if losses is None:
                return EndedRun(run.job, self.failures.pop()[1])
            (untrained,) = losses
        return EndedRun(run.job, run.make_result(untrained))

    def _compute_losses(
        self, runs: Sequence[TenantRun], deltas: Sequence[Delta], sets: Sequence[Sequence[TokenizedPair]]
    ) -> list[float] | None:
        """Nats a target token of every set under its delta; None when a run had to leave for want of memory."""
        rows = [TrainingExample(owner, pair) for owner, pairs in enumerate(sets) for pair in pairs]
        try:
            with torch.no_grad():
                sums = self._run_passes(runs, rows, StepDeltas(self.base, deltas), train=False)
            return None if sums is None else (sums.nats_U / sums.count_U).tolist()
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
        if len(runs) == 1:
            self.failures.append((runs[0], make_tenant_too_large_error(runs[0].job)))
            return None
        half = len(runs) // 2
        parts = [
            self._compute_losses(runs[part], deltas[part], sets[part]) for part in (slice(half), slice(half, None))
        ]
        return None if None in parts else [loss for part in parts for loss in part or ()]

    def _run_passes(
        self, runs: Sequence[TenantRun], rows: list[TrainingExample], deltas: StepDeltas, *, train: bool
    ) -> LossSums | None:
        """All rows in as many passes as they need; smaller ones, from the beginning, when memory runs out.

        None when not even one row fits: its tenant is in trouble then.
        """
        assert self.budget is not None  # noqa: S101 - set when the first run entered
        lengths, roomy = [row.pair.length for row in rows], self.budget
        checkpointing = train and runs[0].config.gradient_checkpointing
        while True:
            try:
                return self.pass_runner.run_passes(
                    deltas, rows, self.budget.pass_tokens, train=train, checkpointing=checkpointing
                )
            except (RuntimeError, MemoryError) as problem:
                if not is_out_of_memory(problem):
                    raise
                deltas.clear_gradients()
                for run in runs:
                    run.optimizer.zero_grad(set_to_none=True)
            groups = group_by_tokens(lengths, self.budget.pass_tokens)
            if max(map(len, groups)) == 1:
                row, self.budget = rows[groups[0][0]], roomy  # the others may still fit
                self.failures.append((runs[row.tenant_index], make_example_too_large_error(row.pair.length)))
                return None
            self.budget = replace(self.budget, pass_tokens=max(1, min(self.budget.pass_tokens, sum(lengths)) // 2))
            _log.warning("out of memory: passes of at most %d tokens from here on", self.budget.pass_tokens)

    def _has_failed(self, run: TenantRun) -> bool:
        return any(run is one for one, _ in self.failures)

    @contextmanager
    def _catch_failure(self, run: TenantRun) -> Iterator[None]:
        """Trouble of one run is noted, and is nobody else's."""
        try:
            yield
        except PrefixFleetError as problem:
            self.failures.append((run, problem))
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            run.optimizer.zero_grad(set_to_none=True)
            self.failures.append((run, make_tenant_too_large_error(run.job)))
