"""One cycle of the rollout over the whole fleet: notice, then advance, promote or take back; each tenant by itself.

MLflow is asked once for all aliases. Further calls are made only for tenants that something happens to, each in its
turn, in which it is looked at again. Knows the order; what decides stands in components/rollout.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from components.config.rollout import RolloutConfig
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.policy.alias_drift import find_alias_drift
from components.rollout.policy.policy import OfflineVerdict, RolloutDecision, decide_next_action
from components.rollout.store.observations import delete_observations_before
from components.rollout.store.tenant_state import insert_unknown_states, read_states
from components.rollout.types import RolloutState
from components.stages.outcome import TenantOutcome, catch_failure
from components.stages.rollout import transitions, trial_reviews
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.rollout.transitions import AliasChange, TenantLease
from components.stages.rollout.trial_reviews import TrialReview
from components.stages.workspace import Workspace
from components.storage.atomic_files import hold_file_lock

_WRITE_DELAY_MINUTES = 1
"""After which servers have written down what they saw in a minute."""
_RETENTION_MINUTES = 90 * 24 * 60
_ACTOR = "rollout"
_STAGE = "roll out"


@dataclass(frozen=True, slots=True)
class TenantCycleResult:
    """What a cycle did with one tenant."""

    tenant: str
    action: Literal["noticed", "finished", "wait", "advance", "promote", "rollback"]
    champion: str
    challenger: str
    why: str


@dataclass(frozen=True, slots=True)
class _FleetState:
    champions: Mapping[str, Version]
    challengers: Mapping[str, Version]
    known: Mapping[str, RolloutState]

    def list_drifted(self) -> list[str]:
        """The tenants whose aliases are not as they were left."""
        return [
            tenant for tenant in sorted({*self.champions, *self.challengers, *self.known}) if self._has_drifted(tenant)
        ]

    def _has_drifted(self, tenant: str) -> bool:
        champion, challenger = (_to_number(versions.get(tenant)) for versions in (self.champions, self.challengers))
        return bool(find_alias_drift(self.known.get(tenant), champion, challenger))


def run_cycle(
    workspace: Workspace, *, now_s: Callable[[], float] = time.time
) -> tuple[list[TenantCycleResult], list[TenantOutcome]]:
    """Look at the whole fleet once; returns what was done, and whose trouble is whose.

    Raises:
        RegistryError: MLflow does not answer.
        WorkspaceError: the rollout's database does not answer, or another cycle runs on this machine.

    """
    with hold_cycle_lock(workspace):
        fleet = _read_fleet(workspace)
        odd = fleet.list_drifted()
        unknown = fleet.champions.keys() - fleet.known.keys() - set(odd)
        insert_unknown_states(
            workspace.database, [RolloutState(tenant=one, champion=fleet.champions[one].version) for one in unknown]
        )
        rolled: list[TenantCycleResult] = []
        troubles: list[TenantOutcome] = []
        known = dict(fleet.known)
        for tenant in odd:
            with catch_failure(tenant, _STAGE, troubles), lock_tenant(workspace, tenant) as now:
                known[tenant] = now.state
                rolled += [_to_result(news) for news in now.alias_changes]
        trials: list[tuple[RolloutState, RolloutConfig]] = []
        for standing in known.values():
            if _is_on_trial(standing, fleet):  # of others the next cycle knows more
                with catch_failure(standing.tenant, _STAGE, troubles):
                    trials.append((standing, transitions.read_rollout_config(workspace, standing.tenant)))
        until = int(now_s() // 60) - _WRITE_DELAY_MINUTES
        for case in trial_reviews.review_trials(workspace.database, trials, until):
            tenant = case.state.tenant
            with catch_failure(tenant, _STAGE, troubles):
                rolled.append(_roll_out_tenant(workspace, fleet.challengers[tenant], case, until, now_s()))
        delete_observations_before(workspace.database, int(now_s() // 60) - _RETENTION_MINUTES)
        return rolled, troubles


@contextmanager
def hold_cycle_lock(workspace: Workspace, *, wait_s: float = 0.0) -> Iterator[None]:
    """Let no cycle run on this machine meanwhile. Raises WorkspaceError where one does for longer than `wait_s`."""
    lock = workspace.root / "var" / "rollout.lock"
    with hold_file_lock(lock, workspace.root, "wait until that cycle ends", wait_s=wait_s):
        yield


def summarize_cycle(results: list[TenantCycleResult], troubles: list[TenantOutcome]) -> str:
    """A cycle in one line."""
    names = {
        "noticed": "moved in MLflow",
        "finished": "finished after a stop",
        "wait": "waiting",
        "advance": "advanced",
        "promote": "promoted",
        "rollback": "rolled back",
    }
    counts = {told: sum(one.action == action for one in results) for action, told in names.items()}
    parts = [f"{count} {told}" for told, count in counts.items() if count]
    parts += [f"{len(troubles)} failed ({', '.join(one.tenant for one in troubles)})"] if troubles else []
    return ", ".join(parts) or "nobody on trial"


def _read_fleet(workspace: Workspace) -> _FleetState:
    aliases = workspace.registry.poll_aliased(CHAMPION, CHALLENGER)
    return _FleetState(aliases[CHAMPION], aliases[CHALLENGER], read_states(workspace.database))


def _to_result(change: AliasChange) -> TenantCycleResult:
    return TenantCycleResult(
        change.after.tenant, change.kind, change.after.champion, change.after.challenger, change.why
    )


def _roll_out_tenant(
    workspace: Workspace, challenger: Version, review: TrialReview, until_minute: int, now_s: float
) -> TenantCycleResult:
    move = _decide(challenger, review, now_s)
    if move.action != "wait" and review.growth:
        (review,) = trial_reviews.judge_trials(workspace.database, [review], until_minute)
        move = _decide(challenger, review, now_s)
    after = before = review.state
    if move.action != "wait":
        with lock_tenant(workspace, before.tenant) as now:
            if now.state == before:
                after = _apply_decision(now, move, now_s)
            else:
                move, after = RolloutDecision("wait", "somebody moved it a moment ago"), now.state
    return TenantCycleResult(before.tenant, move.action, after.champion, challenger.version, move.why)


def _apply_decision(lease: TenantLease, decision: RolloutDecision, now_s: float) -> RolloutState:
    match decision.action:
        case "advance":
            return transitions.advance_trial(lease, decision.why, decision.figures, now_s)
        case "promote":
            return transitions.make_champion(lease, lease.state.challenger, _ACTOR, decision.why, decision.figures)
        case "rollback":
            return transitions.roll_back_trial(lease, _ACTOR, decision.why, decision.figures)
        case "wait":
            return lease.state


def _decide(challenger: Version, review: TrialReview, now_s: float) -> RolloutDecision:
    total = review.totals
    move = decide_next_action(
        review.config, review.state, _read_verdict(challenger), review.findings, total.step_answers, now_s
    )
    if review.state.mode != "shadow":
        return move
    return replace(move, figures={**move.figures, "agreed": total.agreed, "shadowed": total.shadowed})


def _is_on_trial(state: RolloutState, fleet: _FleetState) -> bool:
    return state.challenger != "" and state.challenger == _to_number(fleet.challengers.get(state.tenant))


def _read_verdict(version: Version) -> OfflineVerdict:
    verdict = version.tags.get("verdict")
    return "accepted" if verdict == "accepted" else "rejected" if verdict == "rejected" else "unknown"


def _to_number(version: Version | None) -> str:
    return version.version if version else ""
