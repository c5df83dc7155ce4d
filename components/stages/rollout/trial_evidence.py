"""One trial in full, for people: how far it is, the evidence of each check over time, and its traffic. Changes nothing.

The evidence is computed by the functions that decide (`components.rollout.policy.checks`), from all observations until
now; a cycle may still use a judgement that is up to 1 % of the answers older.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from components.config.rollout import RolloutConfig
from components.registry.mlflow.versions import Version
from components.rollout.policy.checks import CheckTrace, trace_checks
from components.rollout.store.tenant_state import read_state
from components.rollout.store.trial_totals import read_evidence
from components.rollout.store.trial_traffic import TrafficPeriod, read_trial_traffic
from components.rollout.types import RolloutState
from components.stages.rollout.transitions import read_rollout_config
from components.stages.rollout.trial_progress import TrialProgress, read_trials
from components.stages.rollout.trial_reviews import find_last_minute
from components.stages.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialEvidence:
    """One trial with its evidence."""

    state: RolloutState
    config: RolloutConfig
    progress: TrialProgress
    traces: Sequence[CheckTrace]
    """None of a trial that no cycle has started yet."""
    period_minutes: int
    traffic: Sequence[TrafficPeriod]


def read_trial_evidence(
    workspace: Workspace, tenant: str, challenger: Version | None, now_s: float
) -> TrialEvidence | None:
    """Return the trial of a tenant with this version as challenger in MLflow; None: it has no challenger.

    Raises:
        ConfigError: the tenant's rollout section is invalid.
        WorkspaceError: the database does not answer.
    """
    if challenger is None:
        return None
    state, config = read_state(workspace.database, tenant), read_rollout_config(workspace, tenant)
    progress = read_trials(workspace, {tenant: state}, {tenant: challenger}, now_s)[tenant]
    until, is_started = find_last_minute(now_s), state.challenger == challenger.version
    traces: Sequence[CheckTrace] = ()
    period_minutes, traffic = 1, list[TrafficPeriod]()
    if is_started:
        evidence = read_evidence(workspace.database, [state], until)[tenant]
        traces = trace_checks(config, evidence, shadow=state.mode == "shadow")
        period_minutes, traffic = read_trial_traffic(workspace.database, state, until)
    return TrialEvidence(
        state=state, config=config, progress=progress, traces=traces, period_minutes=period_minutes, traffic=traffic
    )
