"""A study of trials that outlives its process: optuna's, in one SQLite file. Knows spaces and costs (less is better).

Each trial has its own seed, made of the study's and its number, so that a study that was killed and goes on tries the
same points as one that was not. Does not know tenants, training or what a cost means.
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
"""Trials that are drawn blindly before what came out guides the next ones; before that none is pruned either."""
_FIELDS, _POINT, _STEPS, _SECONDS, _WHY = "fields", "point", "steps", "seconds", "why"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial: what it tried and what came out. `cost` stands for a complete one alone; `reason` for a failed one."""

    number: int
    state: TrialStatus
    fields: TrainFields
    cost: float | None
    loss: float | None
    """The last validation loss that it told, in nats a target token."""
    steps: int
    seconds: float
    reason: str


class RunningTrial:
    """A trial at work; ends by `complete`, `prune` or `fail`, or stays and is taken up by the next run."""

    def __init__(self, study: "optuna.Study", trial: "optuna.Trial", fields: TrainFields) -> None:
        self._study, self._trial = study, trial
        self.number, self.fields = trial.number, fields

    def report_loss(self, step: int, loss: float) -> bool:
        """Keep a validation loss; says whether half of the complete trials were better at this step."""
        with _translate_storage_errors():
            known = self._study._storage.get_trial(self._trial._trial_id).intermediate_values
            if step not in known:
                self._trial.report(loss, step)
            return self._trial.should_prune()

    def complete(self, cost: float, steps: int, seconds: float) -> None:
        """End with a cost."""
        self._save_totals(steps, seconds)
        with _translate_storage_errors():
            self._study.tell(self._trial, cost)

    def prune(self, steps: int, seconds: float) -> None:
        """End early, without a cost."""
        from optuna.trial import TrialState

        self._save_totals(steps, seconds)
        with _translate_storage_errors():
            self._study.tell(self._trial, state=TrialState.PRUNED)

    def fail(self, why: str) -> None:
        """End with a reason."""
        from optuna.trial import TrialState

        with _translate_storage_errors():
            self._trial.set_user_attr(_WHY, why)
            self._study.tell(self._trial, state=TrialState.FAIL)

    def _save_totals(self, steps: int, seconds: float) -> None:
        with _translate_storage_errors():
            self._trial.set_user_attr(_STEPS, steps)
            self._trial.set_user_attr(_SECONDS, seconds)


class TuningStudy:
    """The trials of one key. Two keys never see each other's."""

    def __init__(self, file: Path, key: str, space: SearchSpace, *, seed: int, unpruned_steps: int) -> None:
        """Open or begin it in an SQLite file; no trial is pruned before step `unpruned_steps`.

        Raises:
            WorkspaceError: the file is damaged, of another optuna, or cannot be written.
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
        """Every trial, in its order."""
        with _translate_storage_errors():
            return [
                _to_record(trial) for trial in self._study.get_trials(deepcopy=False) if trial.state.name != "WAITING"
            ]

    def begin_trial(self, first: TrainFields | None) -> RunningTrial | None:
        """Take up the trial that an earlier run left unfinished, or try `first`, or what the study asks for next.

        None when everything that can be tried has been.
        """
        import optuna

        with _translate_storage_errors():
            trials = self._study.get_trials(deepcopy=False)
            left = [trial for trial in trials if trial.state.name == "RUNNING"]
            number = left[0].number if left else sum(trial.state.name != "WAITING" for trial in trials)
            self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=self.seed + number)
            if left:
                trial = optuna.Trial(self._study, left[0]._trial_id)
            elif any(trial.state.name == "WAITING" for trial in trials) or self._enqueue_next(trials, number, first):
                trial = self._study.ask()
            else:
                return None
            return RunningTrial(self._study, trial, self._suggest_fields(trial))

    def _enqueue_next(
        self, trials: Sequence["optuna.trial.FrozenTrial"], number: int, first: TrainFields | None
    ) -> bool:
        """Put what is tried next in the queue, where it is not left to the sampler; False when all has been tried."""
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
        given = trial.user_attrs.get(_FIELDS)
        names = trial.user_attrs.get(_POINT, self.space.dimensions)
        point: dict[str, str | float] = {}
        for name in names:
            if name == RATE_DIMENSION and self.space.rates:
                point[name] = trial.suggest_float(name, *self.space.rates, log=True)
            else:
                point[name] = str(trial.suggest_categorical(name, list(self.space.choices[name])))
        if given is None:
            given = dict(self.space.to_fields(point))
            trial.set_user_attr(_FIELDS, given)
        return dict(given)

    def _choose_untried(self, trials: Sequence["optuna.trial.FrozenTrial"], number: int) -> SearchPoint | None:
        tried = [trial.params for trial in trials]
        left = [point for point in self.space.iterate_points() if point not in tried]
        return random.Random(self.seed + number).choice(left) if left else None  # noqa: S311


def _to_record(trial: "optuna.trial.FrozenTrial") -> TrialRecord:
    states: dict[str, TrialStatus] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    state = states.get(trial.state.name, "unfinished")
    told, attributes = trial.intermediate_values, trial.user_attrs
    last = max(told, default=0)
    return TrialRecord(
        number=trial.number,
        state=state,
        fields=attributes.get(_FIELDS, {}),
        cost=trial.value if state == "complete" else None,
        loss=told.get(last),
        steps=attributes.get(_STEPS, last),
        seconds=attributes.get(_SECONDS, 0.0),
        reason=attributes.get(_WHY, ""),
    )


@contextmanager
def _translate_storage_errors(file: Path | None = None) -> Iterator[None]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, RuntimeError) as problem:
        got = " ".join(str(problem.__cause__ or problem).split()).partition("(Background")[0].partition("[SQL")[0]
        place = f"the study {file}" if file else "the study's file"
        fix = "free the disk or mend its rights; a damaged study begins anew once its file is removed"
        raise WorkspaceError(f"to read and write {place}", got, fix) from problem
