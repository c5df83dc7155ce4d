"""A study: Optuna's trials in one SQLite file, so that a search can be continued by a later process.

Knows search spaces and costs (lower is better); does not know tenants, training or what a cost means. Each trial has
its own seed, from the study's seed and the trial's number: a study that was killed and continued tries the same points
as one that was not.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.errors import WorkspaceError
from components.stages.tuning.search_space import RATE_DIMENSION, SearchPoint, SearchSpace, TrainFields
from components.storage.atomic_files import convert_disk_errors

if TYPE_CHECKING:
    import optuna

TrialStatus = Literal["complete", "pruned", "failed", "unfinished"]

_RANDOM_TRIALS = 4
"""Trials drawn at random before earlier results guide the next ones; until then no trial is pruned."""
_FIELDS, _POINT, _STEPS, _SECONDS, _REASON = "fields", "point", "steps", "seconds", "why"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial: the values it tried and its result."""

    number: int
    state: TrialStatus
    fields: TrainFields
    cost: float | None
    """None: the trial is not complete."""
    loss: float | None
    """The last reported validation loss, in nats per target token; None: none was reported."""
    steps: int
    seconds: float
    reason: str
    """Why a failed trial failed; "" for every other."""


class RunningTrial:
    """A trial in progress. `complete`, `prune` or `fail` ends it; without one of them the next run continues it."""

    def __init__(self, study: "optuna.Study", trial: "optuna.Trial", fields: TrainFields) -> None:
        self._study, self._trial = study, trial
        self.number, self.fields = trial.number, fields

    def report_loss(self, step: int, loss: float) -> bool:
        """Store a validation loss; return whether half of the complete trials had a lower one at this step."""
        with _translate_storage_errors():
            known = self._study._storage.get_trial(self._trial._trial_id).intermediate_values
            if step not in known:
                self._trial.report(loss, step)
            return self._trial.should_prune()

    def complete(self, cost: float, steps: int, seconds: float) -> None:
        """End the trial with a cost."""
        self._save_totals(steps, seconds)
        with _translate_storage_errors():
            self._study.tell(self._trial, cost)

    def prune(self, steps: int, seconds: float) -> None:
        """End the trial early, without a cost."""
        from optuna.trial import TrialState

        self._save_totals(steps, seconds)
        with _translate_storage_errors():
            self._study.tell(self._trial, state=TrialState.PRUNED)

    def fail(self, reason: str) -> None:
        """End the trial as failed."""
        from optuna.trial import TrialState

        with _translate_storage_errors():
            self._trial.set_user_attr(_REASON, reason)
            self._study.tell(self._trial, state=TrialState.FAIL)

    def _save_totals(self, steps: int, seconds: float) -> None:
        with _translate_storage_errors():
            self._trial.set_user_attr(_STEPS, steps)
            self._trial.set_user_attr(_SECONDS, seconds)


class TuningStudy:
    """The trials of one key; one file holds the studies of several keys."""

    def __init__(self, file: Path, key: str, space: SearchSpace, *, seed: int, unpruned_steps: int) -> None:
        """Open or create the study in an SQLite file; no trial is pruned before step `unpruned_steps`.

        Raises:
            WorkspaceError: the file is damaged, was written by another Optuna version, or cannot be written.
        """
        import optuna
        from sqlalchemy.engine import URL

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with convert_disk_errors(f"write {file}"):
            file.parent.mkdir(parents=True, exist_ok=True)
        self.space, self.seed = space, seed
        url = URL.create("sqlite", database=str(file)).render_as_string()
        with _translate_storage_errors(file):
            self._study = optuna.create_study(
                storage=optuna.storages.RDBStorage(url),
                study_name=key,
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=_RANDOM_TRIALS, n_warmup_steps=unpruned_steps),
            )

    def list_trials(self) -> list[TrialRecord]:
        """Return every trial that was begun, by number."""
        with _translate_storage_errors():
            return [
                _to_record(trial) for trial in self._study.get_trials(deepcopy=False) if trial.state.name != "WAITING"
            ]

    def begin_trial(self, first: TrainFields | None) -> RunningTrial | None:
        """Continue the trial that an earlier run left unfinished; else try `first`; else the sampler's next point.

        Returns None if every point of the space has been tried.
        """
        import optuna

        with _translate_storage_errors():
            trials = self._study.get_trials(deepcopy=False)
            unfinished = [trial for trial in trials if trial.state.name == "RUNNING"]
            number = unfinished[0].number if unfinished else sum(trial.state.name != "WAITING" for trial in trials)
            self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=self.seed + number)
            if unfinished:
                trial = optuna.Trial(self._study, unfinished[0]._trial_id)
            elif any(trial.state.name == "WAITING" for trial in trials) or self._enqueue_next(trials, number, first):
                trial = self._study.ask()
            else:
                return None
            return RunningTrial(self._study, trial, self._suggest_fields(trial))

    def _enqueue_next(
        self, trials: Sequence["optuna.trial.FrozenTrial"], number: int, first: TrainFields | None
    ) -> bool:
        """Queue the next point unless the sampler chooses it; return False if every point has been tried."""
        if first is not None:
            point = dict(self.space.to_point(first))
            self._study.enqueue_trial(point, user_attrs={_FIELDS: dict(first), _POINT: sorted(point)})
        elif self.space.rates is None:
            untried = self._choose_untried(trials, number)
            if untried is None:
                return False
            self._study.enqueue_trial(dict(untried))
        return True

    def _suggest_fields(self, trial: "optuna.Trial") -> TrainFields:
        fields = trial.user_attrs.get(_FIELDS)
        names = trial.user_attrs.get(_POINT, self.space.dimensions)
        point: dict[str, str | float] = {}
        for name in names:
            if name == RATE_DIMENSION and self.space.rates:
                point[name] = trial.suggest_float(name, *self.space.rates, log=True)
            else:
                point[name] = str(trial.suggest_categorical(name, list(self.space.choices[name])))
        if fields is None:
            fields = dict(self.space.to_fields(point))
            trial.set_user_attr(_FIELDS, fields)
        return dict(fields)

    def _choose_untried(self, trials: Sequence["optuna.trial.FrozenTrial"], number: int) -> SearchPoint | None:
        tried = [trial.params for trial in trials]
        untried = [point for point in self.space.iterate_points() if point not in tried]
        return random.Random(self.seed + number).choice(untried) if untried else None  # noqa: S311


def _to_record(trial: "optuna.trial.FrozenTrial") -> TrialRecord:
    states: dict[str, TrialStatus] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    state = states.get(trial.state.name, "unfinished")
    losses, attributes = trial.intermediate_values, trial.user_attrs
    last = max(losses, default=0)
    return TrialRecord(
        number=trial.number,
        state=state,
        fields=attributes.get(_FIELDS, {}),
        cost=trial.value if state == "complete" else None,
        loss=losses.get(last),
        steps=attributes.get(_STEPS, last),
        seconds=attributes.get(_SECONDS, 0.0),
        reason=attributes.get(_REASON, ""),
    )


@contextmanager
def _translate_storage_errors(file: Path | None = None) -> Iterator[None]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, RuntimeError) as problem:
        got = " ".join(str(problem.__cause__ or problem).split()).partition("(Background")[0].partition("[SQL")[0]
        name = f"the study {file}" if file else "the study's file"
        fix = "free disk space or correct the permissions; if the study is damaged, remove its file to start a new one"
        raise WorkspaceError(f"to read and write {name}", got, fix) from problem
