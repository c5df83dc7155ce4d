"""Search a tenant's prefix length, learning rate and start (or its method's size) by validation score.

The study is kept in var/tune/<tenant> under a key of everything that a score depends on: the tenant's data, the base,
the values that are not searched, the search space and the metric. The same call therefore continues where an earlier
one stopped, and never mixes in results of other data or values. The current values are tried first; a trial that does
not beat them is not written.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from components.config import Params, TrainConfig
from components.errors import BaseModelError, ConfigError, DataError, TrainingError
from components.registry.manifest import ARTIFACT_SCHEMA
from components.stages.base import find_chat_template_digest
from components.stages.init_texts import read_init_text
from components.stages.plan import PlanItem, plan_tenant
from components.stages.progress import StageProgress, log_info, report_progress
from components.stages.tuning.overrides import check_writable, write_override
from components.stages.tuning.request import TuneRequest, TuningResult
from components.stages.tuning.search_space import SearchSpace, TrainFields, make_search_space
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
from components.storage.atomic_files import remove_tree

_USER_ERRORS = (BaseModelError, ConfigError, DataError, TrainingError)
_MAX_CONSECUTIVE_FAILURES = 10
"""A search ends after this many failed trials in a row."""


def tune(workspace: Workspace, request: TuneRequest, *, clock: Callable[[], float] = time.monotonic) -> TuningResult:
    """Run trials until the budget is spent; write the best trial's values if they beat the current ones.

    Ctrl-C (KeyboardInterrupt is passed on to the caller) and a kill lose at most the steps since the last validation.

    Raises:
        DataError: no such tenant, or no usable train or validation split.
        ConfigError: an impossible search space.
        TrainingError: every trial failed; the message has the last reason.
        WorkspaceError: the override file is read-only, the tenant's training values changed while the trials ran, or
            the study cannot be read or written.
    """
    workspace.list_tenants([request.tenant])
    if not request.dry_run:
        check_writable(workspace.get_override_file(request.tenant))
    search = _Search(workspace, request, clock)
    search.run()
    tuned = search.make_result()
    if not tuned.values or request.dry_run:
        return tuned
    write_override(workspace, request.tenant, tuned.values, search.written_train)
    return replace(tuned, is_written=True)


class _Search:
    def __init__(self, workspace: Workspace, request: TuneRequest, clock: Callable[[], float]) -> None:
        self.request, self.clock = request, clock
        self.deadline = math.inf if request.minutes is None else clock() + 60 * request.minutes
        self.started = clock()
        params = workspace.params.for_tenant(request.tenant)
        self.written_train = params.train
        self.current_train = read_init_text(workspace.root, params.train)
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
        finished = self._list_finished()
        if finished:
            log_info(
                f"{tenant}: {len(finished)} finished trials of this study found in var/tune/{tenant}; "
                "they are not run again"
            )
        while not self._is_budget_spent():
            running = self.study.begin_trial(
                None if self._find_current_trial() else self.space.select_searched(self.current_train)
            )
            if running is None:
                log_info(f"{tenant}: every point of the search space has been tried")
                break
            if not self._run_trial(running):
                log_info(
                    f"{tenant}: {request.minutes:g} minutes are over; the same command continues with "
                    f"{_name_trial(running)}"
                )
                break

    def make_result(self) -> TuningResult:
        trials = self.study.list_trials()
        order = {"complete": 0, "pruned": 1, "failed": 2, "unfinished": 3}
        ranked = sorted(trials, key=lambda trial: (order[trial.state], trial.cost or 0.0, trial.number))
        best = ranked[0] if ranked and ranked[0].cost is not None else None
        current = self._find_current_trial()
        if best is None and trials and all(trial.state == "failed" for trial in trials):
            got = f"all {len(trials)} trials failed, the last because: {trials[-1].reason}"
            raise TrainingError(f"at least one complete trial of {self.request.tenant}", got, "try other values")
        values: dict[str, Any] = {}
        if best is not None and current is not None and (current.cost is None or best.cost < current.cost):  # type: ignore[operator]
            now = self.space.select_searched(self.current_train)
            values = {name: value for name, value in best.fields.items() if (value, now[name]) != (None, None)}
        return TuningResult(self.request.metric, self.space, tuple(ranked), current, best, values, is_written=False)

    def _run_trial(self, running: RunningTrial) -> bool:
        """Run one trial to its end; return False if the time was over before its end."""
        tenant, name = self.request.tenant, _name_trial(running)
        config = shorten_config(self.current_train.model_copy(update=dict(running.fields)), self.request.steps)
        is_current, pruned = self._is_current(running.fields), False
        cells = zip(self.space.dimensions, self.space.format_fields(running.fields), strict=True)
        values = ", ".join(f"{dimension} {value}" for dimension, value in cells)
        log_info(f"{tenant}: {name}{' (the current values)' if is_current else ''}: {values}")

        def report(step: int, loss: float) -> None:
            nonlocal pruned
            worse = running.report_loss(step, loss)
            pruned = worse and not is_current and step < config.max_steps

        try:
            result = self.trial_runner.run(
                name, config, self.state_folder, report, lambda: pruned or self.clock() >= self.deadline
            )
        except _USER_ERRORS as problem:
            running.fail(f"{problem.wanted}: got {problem.got}")
            log_info(f"{tenant}: {name} failed: {problem}")
        else:
            if isinstance(result, TrialScore):
                cost = result.value if is_lower_better(self.request.metric) else -result.value
                running.complete(cost, result.steps, result.seconds)
                score = f"{label_metric(self.request.metric)} {result.value:.3f}"
                log_info(f"{tenant}: {name}: {score} in {result.seconds:.0f} s")
            elif pruned:
                running.prune(result.steps, result.seconds)
                log_info(
                    f"{tenant}: {name} stopped at step {result.steps}: half of the trials had a lower loss at that step"
                )
            else:
                return False
        remove_tree(self.state_folder)
        self._report_progress()
        return True

    def _is_budget_spent(self) -> bool:
        finished = self._list_finished()
        if self.clock() >= self.deadline:
            return True
        last = finished[-_MAX_CONSECUTIVE_FAILURES:]
        if len(last) == _MAX_CONSECUTIVE_FAILURES and all(trial.state == "failed" for trial in last):
            log_info(f"{self.request.tenant}: the last {len(last)} trials failed; the search ends")
            return True
        enough = self.request.trials is not None and len(finished) >= self.request.trials
        return enough and self._find_current_trial() is not None

    def _list_finished(self) -> list[TrialRecord]:
        return [trial for trial in self.study.list_trials() if trial.state != "unfinished"]

    def _find_current_trial(self) -> TrialRecord | None:
        """Return the complete or failed trial of the current values, or None."""
        for trial in self._list_finished():
            if trial.state != "pruned" and self._is_current(trial.fields):
                return trial
        return None

    def _is_current(self, fields: TrainFields) -> bool:
        return bool(fields) and self.current_train.model_copy(update=dict(fields)) == self.current_train

    def _report_progress(self) -> None:
        trials, minutes = self.request.trials, self.request.minutes
        if trials is not None:
            report_progress(StageProgress("trials", self.request.tenant, len(self._list_finished()), trials))
        elif minutes is not None:
            spent = int((self.clock() - self.started) / 60)
            report_progress(StageProgress("minutes of trials", self.request.tenant, spent, math.ceil(minutes)))


def _name_trial(running: RunningTrial) -> str:
    return f"trial {running.number + 1}"


_NEWER_DEFAULTS = (("turns", "all"), ("initial_state", False), ("first_slot", "free"))
"""Fields that studies of earlier releases do not have, with the value that changes nothing."""


def _make_study_key(
    space: SearchSpace, trial: TrainConfig, item: PlanItem, base_digest: str, runner: TrialRunner, params: Params
) -> str:
    is_decoded, fixed = runner.metric != VALIDATION_LOSS, space.select_fixed(trial)
    values = {
        "artifact_schema": ARTIFACT_SCHEMA,
        "base": base_digest,
        "data": item.data_digest,
        "shared": runner.shared.sha256 if runner.shared else None,
        "rest": {name: value for name, value in fixed.items() if (name, value) not in _NEWER_DEFAULTS},
        "space": asdict(space),
        "metric": runner.metric,
        "scored": [len(runner.scored_examples), params.evaluate.model_dump(mode="json")] if is_decoded else None,
    }
    if template := find_chat_template_digest(runner.workspace, item.tenant):
        values["chat_template"] = template
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
