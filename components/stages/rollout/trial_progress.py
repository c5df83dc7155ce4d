"""How far the trials are and what they wait for, read from the rollout's database in few queries. Changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from components.config.rollout import RolloutConfig
from components.registry.mlflow.versions import Version
from components.rollout.policy.policy import WAITING_FOR_PERSON, StepProgress, decide_next_action, measure_progress
from components.rollout.types import RolloutState, TrialMode
from components.stages.rollout.transitions import read_rollout_config
from components.stages.rollout.trial_reviews import TrialReview, find_last_minute, read_offline_verdict, read_reviews
from components.stages.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialProgress:
    """One trial, for people."""

    version: str
    mode: TrialMode
    """"": the alias was set in MLflow, and no rollout cycle has seen it yet."""
    share: float
    step: int
    """From 1."""
    steps: int
    progress: StepProgress
    paused: bool
    waits_for: str
    """What the next cycle waits for, or what it will do and why."""

    @property
    def deadline(self) -> str | None:
        """The end of `rollout.deadline_hours` in UTC, ISO 8601; None: the trial has none."""
        if not self.progress.deadline_s:
            return None
        return datetime.fromtimestamp(self.progress.deadline_s, UTC).isoformat(timespec="minutes")

    @property
    def waits_for_person(self) -> bool:
        """Whether nothing happens until someone promotes or rolls back the version by hand."""
        return WAITING_FOR_PERSON in self.waits_for

    @property
    def sentence(self) -> str:
        """The trial in one line."""
        if not self.mode:
            return f"version {self.version}: {self.waits_for}"
        head = f"version {self.version}, {self.mode}"
        if self.mode == "manual":
            return f"{head}: {self.waits_for}"
        step = f" step {self.step} of {self.steps}" if self.mode == "canary" else ""
        one = self.progress
        counts = f"{one.requests} of {one.min_requests} requests, {one.hours:.1f} of {one.min_hours:g} hours"
        return f"{head}{step} at {self.share:.0%}: {counts}, deadline {self.deadline}; {self.waits_for}"


def read_trials(
    workspace: Workspace, states: Mapping[str, RolloutState], challengers: Mapping[str, Version], now_s: float
) -> dict[str, TrialProgress]:
    """Return tenant -> its trial, for all tenants with an alias challenger; three queries for 500 trials.

    Raises:
        ConfigError: a tenant's rollout section is invalid.
        WorkspaceError: the database does not answer.
    """
    known = {
        tenant: states[tenant]
        for tenant, version in challengers.items()
        if tenant in states and states[tenant].challenger == version.version
    }
    trials = [(state, read_rollout_config(workspace, tenant)) for tenant, state in known.items()]
    reviews = read_reviews(workspace.database, trials, find_last_minute(now_s)) if trials else []
    progress = {one.state.tenant: _make_progress(challengers[one.state.tenant], one, now_s) for one in reviews}
    unseen = {tenant: version for tenant, version in challengers.items() if tenant not in known}
    return progress | {tenant: _make_unseen(version) for tenant, version in unseen.items()}


def _make_progress(challenger: Version, review: TrialReview, now_s: float) -> TrialProgress:
    state, config, answers = review.state, review.config, review.totals.step_answers
    verdict = read_offline_verdict(challenger)
    decision = decide_next_action(config, state, verdict, review.findings, answers, now_s)
    verbs = {"advance": "advances it", "promote": "promotes it", "rollback": "rolls it back"}
    why = decision.why if decision.action == "wait" else f"the next cycle {verbs[decision.action]}: {decision.why}"
    return TrialProgress(
        version=state.challenger,
        mode=state.mode,
        share=state.share,
        step=state.step + 1,
        steps=_count_steps(state, config),
        progress=measure_progress(config, state, answers.challenger, now_s),
        paused=bool(state.paused_s),
        waits_for=why,
    )


def _make_unseen(challenger: Version) -> TrialProgress:
    return TrialProgress(
        version=challenger.version,
        mode="",
        share=0.0,
        step=0,
        steps=0,
        progress=StepProgress(),
        paused=False,
        waits_for="the alias was set in MLflow; the next rollout cycle starts its trial",
    )


def _count_steps(state: RolloutState, config: RolloutConfig) -> int:
    return len(config.steps) if state.mode == "canary" else 1
