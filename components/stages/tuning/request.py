"""The request of a tuning and its result. Does not know how trials run or where values are written."""

import math
from dataclasses import dataclass, field

from components.errors import ConfigError
from components.stages.tuning.search_space import SearchOptions, SearchSpace, TrainFields
from components.stages.tuning.study import TrialRecord
from components.stages.tuning.trial import is_lower_better


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRequest:
    """What to tune and how.

    Raises:
        ConfigError: no budget, or a number that is not above zero.
    """

    tenant: str
    trials: int | None = None
    """Trials of the study in all, those of earlier runs included; None: no limit."""
    minutes: float | None = None
    """Minutes that this run may take; None: no limit."""
    metric: str = "bleu"
    examples: int = 64
    """Validation examples decoded for a metric, at most."""
    options: SearchOptions = field(default_factory=SearchOptions)
    steps: int | None = None
    """Optimizer steps of a trial; None: the tenant's max_steps."""
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty budget and numbers that are not above zero."""
        for name in ("trials", "minutes", "examples", "steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"--{name} above zero", f"{value:g}", "pass at least 1, or leave it out")
        if self.trials is None and self.minutes is None:
            raise ConfigError("a budget", "none", "pass --trials, --minutes or both")


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The trials, the best first, and the values that were (in a dry run: would be) written."""

    metric: str
    space: SearchSpace
    trials: tuple[TrialRecord, ...]
    current_trial: TrialRecord | None
    """The trial of the current values; None: not measured yet."""
    best_trial: TrialRecord | None
    """None: no trial is complete."""
    values: TrainFields
    """What beats the current values; empty: nothing does."""
    is_written: bool

    def format_score(self, trial: TrialRecord) -> str:
        """Return a complete trial's score, "-" for any other."""
        if trial.cost is None:
            return "-"
        return f"{trial.cost:.3f}" if is_lower_better(self.metric) else f"{-trial.cost:.2f}"
