"""The status of a fleet as values and as JSON, whose keys docs/status.md documents. Reads nothing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from components.data.schema import SPLITS
from components.rollout.policy.input_drift import InputDrift
from components.stages.last_failures import LastFailure
from components.stages.reports.tenant_state import STATES, TenantState, VerdictFacts
from components.stages.rollout.trial_progress import TrialProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantStatus:
    """One tenant's status. `to_json` has the keys that docs/status.md documents."""

    tenant: str
    state: TenantState
    reason: str
    notes: Sequence[str]
    champion: str
    """Version in MLflow; "": none."""
    bleu: float | None
    """The champion's, at its registration."""
    trial: TrialProgress | None
    pinned: bool
    verdict: VerdictFacts | None
    failure: LastFailure | None
    examples: tuple[int, ...]
    """Lines of the train, validation and test split."""
    data_digest: str
    drift: InputDrift | None = None
    """Of the champion's requests in the last hours; None: unknown."""

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return {
            "tenant": self.tenant,
            "state": self.state,
            "reason": self.reason,
            "notes": list(self.notes),
            "champion": self.champion or None,
            "bleu": self.bleu,
            "trial": None if self.trial is None else _trial_to_json(self.trial),
            "pinned": self.pinned,
            "verdict": None if self.verdict is None else asdict(self.verdict),
            "failure": None if self.failure is None else asdict(self.failure),
            "examples": dict(zip(SPLITS, self.examples, strict=True)),
            "data_digest": self.data_digest,
            "drift": None if self.drift is None else self.drift.to_json(),
        }


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """All tenants, those that need attention first; and the drops that wait."""

    tenants: Sequence[TenantStatus]
    drops: Sequence[str]

    def count_states(self) -> dict[TenantState, int]:
        """Return state -> number of tenants, without states that no tenant has, in the order of STATES."""
        counts = {state: sum(one.state == state for one in self.tenants) for state in STATES}
        return {state: count for state, count in counts.items() if count}

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return {
            "counts": self.count_states(),
            "drops": list(self.drops),
            "tenants": [one.to_json() for one in self.tenants],
        }


def _trial_to_json(trial: TrialProgress) -> dict[str, Any]:
    step = asdict(trial.progress)
    del step["deadline_s"]
    own = {name: getattr(trial, name) for name in ("version", "mode", "share", "step", "steps", "paused", "waits_for")}
    return {**own, **step, "deadline": trial.deadline}
