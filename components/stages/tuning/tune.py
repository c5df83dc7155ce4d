"""Search a tenant's length, learning rate and start (or its method's size) by validation score, under a budget.

The study lies in var/tune/<tenant> under a key made of everything that a score depends on: the tenant's data, the base,
the values that are not searched, the space, and how is scored. So the same call goes on where an earlier one stopped,
and results of other data or values are never mixed in. The present values are tried first, and what is not better than
they are is not written.
"""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from components.config import Params, TrainConfig
from components.data.digests import compute_file_digest
from components.errors import BaseModelError, ConfigError, DataError, TrainingError
from components.registry.manifest import ARTIFACT_SCHEMA
from components.stages.plan import PlanItem, plan_tenant
from components.stages.progress import StageProgress, log_info, report_progress
from components.stages.tuning.overrides import check_writable, write_override
from components.stages.tuning.search_space import SearchOptions, SearchSpace, TrainFields, make_search_space
from components.stages.tuning.study import RunningTrial, TrialRecord, TuningStudy
from components.stages.tuning.trial import (
    VALIDATION_LOSS,
    TrialRunner,
    TrialScore,
    is_lower_better,
    label_metric,
    shorten_config,
)
from components.stages.workspace import Workspace

_USER_ERRORS = (BaseModelError, ConfigError, DataError, TrainingError)
_MAX_CONSECUTIVE_FAILURES = 10
"""So many failures in a row end a search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRequest:
    """What to tune and how. `trials` counts those of earlier runs of the same study; `minutes` is for this run.

    Raises:
        ConfigError: nothing may be tried, or nothing is scored.
    """

    tenant: str
    trials: int | None = None
    minutes: float | None = None
    metric: str = "bleu"
    examples: int = 64
    options: SearchOptions = field(default_factory=SearchOptions)
    steps: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty budget."""
        for name in ("trials", "minutes", "examples", "steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"--{name} above zero", f"{value:g}", "give at least 1, or leave it out")
        if self.trials is None and self.minutes is None:
            raise ConfigError("a budget", "none", "give --trials, --minutes or both")


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What came out: trials, the best first, and the values that are (or with a dry run would be) written."""

    metric: str
    space: SearchSpace
    trials: tuple[TrialRecord, ...]
    current_trial: TrialRecord | None
    best_trial: TrialRecord | None
    values: TrainFields
    is_written: bool

    def format_score(self, row: TrialRecord) -> str:
        """A complete trial's score for people."""
        if row.cost is None:
            return "-"
        return f"{row.cost:.3f}" if is_lower_better(self.metric) else f"{-row.cost:.2f}"


def tune(workspace: Workspace, request: TuneRequest, *, clock: Callable[[], float] = time.monotonic) -> TuningResult:
    """Run trials until the budget is spent; write the best one's values where it beats the present ones.

    Ctrl-C (KeyboardInterrupt goes on to the caller) and a kill lose at most the steps since the last validation.

    Raises:
        DataError: no such tenant, or no usable train or validation split.
        ConfigError: an impossible space, or a params.yaml that cannot be changed without changing more.
        TrainingError: no trial came through; the last reason is told.
        WorkspaceError: params.yaml is read-only or changed meanwhile, or the study cannot be read or written.
    """
    file = workspace.root / "params.yaml"
    digest = compute_file_digest(file)
    workspace.list_tenants([request.tenant])
    if not request.dry_run:
        check_writable(file)
    search = _Search(workspace, request, clock)
    search.run()
    tuned = search.make_result()
    if not tuned.values or request.dry_run:
        return tuned
    write_override(file, digest, workspace.params, request.tenant, tuned.values)
    return replace(tuned, is_written=True)


class _Search:
    def __init__(self, workspace: Workspace, request: TuneRequest, clock: Callable[[], float]) -> None:
        self.request, self.clock = request, clock
        self.deadline = math.inf if request.minutes is None else clock() + 60 * request.minutes
        self.began = clock()
        params = workspace.params.for_tenant(request.tenant)
        self.current_train = params.train
        self.space = make_search_space(params.train, request.options)
        item = plan_tenant(workspace, request.tenant, workspace.base.digest)
        self.trial_runner = TrialRunner(workspace, item, params, request.metric, request.examples)
        trial = shorten_config(self.current_train, request.steps)
        key = _make_study_key(self.space, trial, item, workspace.base.digest, self.trial_runner, params)
        folder = workspace.root / "var" / "tune" / request.tenant
        self.state_folder: Path = folder / key[:16]
        self.study = TuningStudy(
            folder / "study.db", key, self.space, seed=trial.seed, unpruned_steps=max(1, trial.warmup_steps)
        )

    def run(self) -> None:
        request, tenant = self.request, self.request.tenant
        before = self._list_ended()
        if before:
            log_info(f"{tenant}: {len(before)} trials of this study stand (var/tune/{tenant})")
        while not self._is_budget_spent():
            running = self.study.begin_trial(
                None if self._find_current_trial() else self.space.select_searched(self.current_train)
            )
            if running is None:
                log_info(f"{tenant}: everything in the space has been tried")
                break
            if not self._run_trial(running):
                log_info(
                    f"{tenant}: {request.minutes:g} minutes are over; the same command goes on with "
                    f"{_name_trial(running)}"
                )
                break

    def make_result(self) -> TuningResult:
        rows = self.study.list_trials()
        order = {"complete": 0, "pruned": 1, "failed": 2, "unfinished": 3}
        ranked = sorted(rows, key=lambda row: (order[row.state], row.cost or 0.0, row.number))
        best = ranked[0] if ranked and ranked[0].cost is not None else None
        present = self._find_current_trial()
        if best is None and rows and all(row.state == "failed" for row in rows):
            got = f"{len(rows)} failed, the last for: {rows[-1].reason}"
            raise TrainingError(f"a trial of {self.request.tenant} that comes through", got, "try other values")
        values: dict[str, Any] = {}
        if best is not None and present is not None and (present.cost is None or best.cost < present.cost):  # type: ignore[operator]
            now = self.space.select_searched(self.current_train)
            values = {name: value for name, value in best.fields.items() if (value, now[name]) != (None, None)}
        return TuningResult(self.request.metric, self.space, tuple(ranked), present, best, values, is_written=False)

    def _run_trial(self, running: RunningTrial) -> bool:
        """Run one trial to its end; False where time was up before."""
        tenant, name = self.request.tenant, _name_trial(running)
        config = shorten_config(self.current_train.model_copy(update=dict(running.fields)), self.request.steps)
        is_present, pruned = self._is_current(running.fields), False
        told = ", ".join(
            f"{a} {b}" for a, b in zip(self.space.dimensions, self.space.format_fields(running.fields), strict=True)
        )
        log_info(f"{tenant}: {name}{' (the present values)' if is_present else ''}: {told}")

        def report(step: int, loss: float) -> None:
            nonlocal pruned
            worse = running.report_loss(step, loss)
            pruned = worse and not is_present and step < config.max_steps

        try:
            out = self.trial_runner.run(
                name, config, self.state_folder, report, lambda: pruned or self.clock() >= self.deadline
            )
        except _USER_ERRORS as problem:
            running.fail(f"{problem.wanted}: got {problem.got}")
            log_info(f"{tenant}: {name} failed: {problem}")
        else:
            if isinstance(out, TrialScore):
                cost = out.value if is_lower_better(self.request.metric) else -out.value
                running.complete(cost, out.steps, out.seconds)
                log_info(
                    f"{tenant}: {name}: {label_metric(self.request.metric)} {out.value:.3f} in {out.seconds:.0f} s"
                )
            elif pruned:
                running.prune(out.steps, out.seconds)
                log_info(f"{tenant}: {name} given up at step {out.steps}: half of the trials had lower losses there")
            else:
                return False
        shutil.rmtree(self.state_folder, ignore_errors=True)
        self._report_progress()
        return True

    def _is_budget_spent(self) -> bool:
        ended = self._list_ended()
        if self.clock() >= self.deadline:
            return True
        if len(ended) >= _MAX_CONSECUTIVE_FAILURES and all(
            row.state == "failed" for row in ended[-_MAX_CONSECUTIVE_FAILURES:]
        ):
            log_info(f"{self.request.tenant}: the last {_MAX_CONSECUTIVE_FAILURES} trials failed; no more are tried")
            return True
        over = self.request.trials is not None and len(ended) >= self.request.trials
        return over and self._find_current_trial() is not None

    def _list_ended(self) -> list[TrialRecord]:
        return [row for row in self.study.list_trials() if row.state != "unfinished"]

    def _find_current_trial(self) -> TrialRecord | None:
        """The trial of the present values, once it has come to an end that was not early."""
        rows = [row for row in self._list_ended() if row.state != "pruned" and self._is_current(row.fields)]
        return rows[0] if rows else None

    def _is_current(self, fields: TrainFields) -> bool:
        return bool(fields) and self.current_train.model_copy(update=dict(fields)) == self.current_train

    def _report_progress(self) -> None:
        trials, minutes = self.request.trials, self.request.minutes
        if trials is not None:
            report_progress(StageProgress("trials", self.request.tenant, len(self._list_ended()), trials))
        elif minutes is not None:
            spent = int((self.clock() - self.began) / 60)
            report_progress(StageProgress("minutes of trials", self.request.tenant, spent, math.ceil(minutes)))


def _name_trial(running: RunningTrial) -> str:
    return f"trial {running.number + 1}"


def _make_study_key(
    space: SearchSpace, trial: TrainConfig, item: PlanItem, base_digest: str, trier: TrialRunner, params: Params
) -> str:
    decoded = trier.metric != VALIDATION_LOSS
    values = {
        "artifact_schema": ARTIFACT_SCHEMA,
        "base": base_digest,
        "data": item.data_digest,
        "shared": trier.shared.sha256 if trier.shared else None,
        "rest": space.select_fixed(trial),
        "space": asdict(space),
        "metric": trier.metric,
        "scored": [len(trier.scored_examples), params.evaluate.model_dump(mode="json")] if decoded else None,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
