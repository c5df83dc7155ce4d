"""One shard: the runs of several tenants that are in training together, and what happens to each of them.

In a step, the rows of all runs share passes of similar length. A run ends when it is finished, stopped or has failed,
and the others continue. When memory runs out, passes get smaller, then half of the runs wait until the others have
ended. Knows runs and passes; does not know where jobs or data come from.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch

from components.config import EngineConfig
from components.data.batches import group_by_tokens
from components.data.pairs import TokenizedPair
from components.errors import PrefixFleetError, WorkspaceError
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

PASSES_AHEAD = 2
"""Jobs are admitted until the rows of one step fill this number of passes per process."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EndedRun:
    """One tenant's run after it left the shard: its result, or the error that ended it."""

    job: TrainingJob
    result: TrainResult | PrefixFleetError


class Shard:
    """The runs that are in training together."""

    def __init__(self, base: Base, engine: EngineConfig, pass_runner: PassRunner) -> None:
        """Start without runs."""
        self.base, self.engine, self.pass_runner = base, engine, pass_runner
        self.runs: list[TenantRun] = []
        self.deferred_runs: list[TenantRun] = []
        """Runs that wait until the others have ended, because memory does not suffice for all."""
        self.failures: list[tuple[TenantRun, PrefixFleetError]] = []
        """Runs that failed since the last call of `train_until_a_run_ends`."""
        self.budget: MemoryBudget | None = None
        """Set when the first run is admitted; its passes get smaller when memory runs out."""

    def can_admit(self, job: TrainingJob) -> bool:
        """Return whether `job` may join now: it can share passes, it fits in memory, and passes are not full yet."""
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
        full_step_tokens = PASSES_AHEAD * self.pass_runner.process_count * self.budget.pass_tokens
        return fits and sum(map(estimate_step_tokens, jobs[:-1])) < full_step_tokens

    def admit(self, job: TrainingJob) -> PrefixFleetError | None:
        """Start or resume the run of `job`. Return the error if its examples or its state cannot be used."""
        if self.budget is None:
            self.budget = MemoryBudget.estimate(self.base, self.engine)
        try:
            check_examples(self.base, job)
            self.runs.append(TenantRun(job))
        except PrefixFleetError as problem:
            return problem
        return None

    def save_all(self) -> None:
        """Save every run. A run that cannot be saved is logged and does not stop the others."""
        for run in (*self.runs, *self.deferred_runs):
            try:
                run.save()
            except WorkspaceError as problem:
                _log.warning("%s: training not saved: %s", run.job.tenant, problem)

    def train_until_a_run_ends(self) -> list[EndedRun]:
        """Train step by step until at least one run ends; return the ended runs."""
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
                active = [
                    run for run in self.runs if not run.is_finished and not run.is_stopped and not self._has_failed(run)
                ]
                if len(active) < len(self.runs):
                    break
                self._update_parameters()
        return self._remove_ended(active)

    def _remove_ended(self, active: list[TenantRun]) -> list[EndedRun]:
        done = [run for run in self.runs if run not in active and not self._has_failed(run)]
        ended = [EndedRun(run.job, problem) for run, problem in self.failures]
        ended += [self._make_result(run) for run in done]
        self.runs, self.failures = active, []
        if not active:
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
        started_s = time.monotonic()
        batches = [run.select_batch() for run in self.runs]
        rows = [
            TrainingExample(tenant_index, pair, run.compute_token_weight(pairs))
            for tenant_index, (run, pairs) in enumerate(zip(self.runs, batches, strict=True))
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
        seconds_per_token = (time.monotonic() - started_s) / sum(row.pair.length for row in rows)
        for run, pairs in zip(self.runs, batches, strict=True):
            tokens = sum(pair.length for pair in pairs)
            run.progress.seconds += seconds_per_token * tokens
            run.progress.tokens += tokens

    def _defer_half(self) -> None:
        """Continue with half of the runs, and with the others once these have ended. A single run fails instead."""
        for run in self.runs:
            run.optimizer.zero_grad(set_to_none=True)
        if len(self.runs) == 1:
            self.failures.append((self.runs[0], make_tenant_too_large_error(self.runs[0].job)))
            return
        half = (len(self.runs) + 1) // 2
        self.runs, self.deferred_runs = self.runs[:half], self.runs[half:] + self.deferred_runs
        _log.warning("out of memory: %d tenants wait until %d others have ended", len(self.deferred_runs), half)

    def _make_result(self, run: TenantRun) -> EndedRun:
        untrained_loss = 0.0
        if run.train_loss is None:
            losses = self._compute_losses([run], [run.best_delta], [sample_evenly(run.job.train)])
            if losses is None:
                return EndedRun(run.job, self.failures.pop()[1])
            (untrained_loss,) = losses
        return EndedRun(run.job, run.make_result(untrained_loss))

    def _compute_losses(
        self, runs: Sequence[TenantRun], deltas: Sequence[Delta], sets: Sequence[Sequence[TokenizedPair]]
    ) -> list[float] | None:
        """Return the mean loss of every set under its delta, in nats per target token; None if a run failed."""
        rows = [TrainingExample(tenant_index, pair) for tenant_index, pairs in enumerate(sets) for pair in pairs]
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
        """Run all rows in as many passes as they need. If memory runs out, start again with smaller passes.

        Return None if a single row does not fit: its tenant's run has failed then.
        """
        assert self.budget is not None  # noqa: S101 - set when the first run was admitted
        lengths, budget_before = [row.pair.length for row in rows], self.budget
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
                row, self.budget = rows[groups[0][0]], budget_before  # the rows of the other tenants may fit
                self.failures.append((runs[row.tenant_index], make_example_too_large_error(row.pair.length)))
                return None
            self.budget = replace(self.budget, pass_tokens=max(1, min(self.budget.pass_tokens, sum(lengths)) // 2))
            _log.warning("out of memory: passes of at most %d tokens from now on", self.budget.pass_tokens)

    def _has_failed(self, run: TenantRun) -> bool:
        return any(run is one for one, _ in self.failures)

    @contextmanager
    def _catch_failure(self, run: TenantRun) -> Iterator[None]:
        """Record an error of the block as the failure of `run`, so that the other runs continue."""
        try:
            yield
        except PrefixFleetError as problem:
            self.failures.append((run, problem))
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            run.optimizer.zero_grad(set_to_none=True)
            self.failures.append((run, make_tenant_too_large_error(run.job)))
