"""One cycle of the rollout over all tenants: record aliases that were moved, then advance, promote or roll back.

MLflow is asked once for all aliases. More calls are made only for tenants that change, each under its tenant's lock and
after a second look at its state. A failure of one tenant does not stop the others. Knows the order of the steps;
components/rollout decides.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from components.config.rollout import RolloutConfig
from components.otel.spans import open_span
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.policy.alias_drift import find_alias_drift
from components.rollout.policy.policy import RolloutDecision, decide_next_action
from components.rollout.store.corrections import list_tenants_with_corrections
from components.rollout.store.event_outbox import has_events
from components.rollout.store.feedback import delete_ratings_before
from components.rollout.store.inputs import delete_inputs_before
from components.rollout.store.observations import delete_observations_before, find_newest_minute
from components.rollout.store.tenant_state import insert_unknown_states, read_states
from components.rollout.types import RolloutState
from components.stages.outcome import TenantOutcome, catch_failure
from components.stages.progress import log_warning
from components.stages.rollout import transitions, trial_reviews
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.rollout.transitions import ROLLOUT, AliasChange, TenantLease
from components.stages.rollout.trial_reviews import TrialReview
from components.stages.usage_records import record_stored_bytes
from components.stages.workspace import Workspace
from components.storage.atomic_files import hold_file_lock

_RETENTION_MINUTES = 90 * 24 * 60
_TENANT_WAIT_S = 30.0
"""How long a cycle waits for another move of a tenant, which the next cycle sees again."""
_WORDS = {
    "noticed": "moved in MLflow",
    "finished": "completed after an interruption",
    "wait": "waiting",
    "advance": "advanced",
    "promote": "promoted",
    "rollback": "rolled back",
}
"""`TenantCycleResult.action` in words."""
_STAGE = "roll out"


@dataclass(frozen=True, slots=True)
class TenantCycleResult:
    """What a cycle did with one tenant. Versions are "" where there is none."""

    tenant: str
    action: Literal["noticed", "finished", "wait", "advance", "promote", "rollback"]
    """noticed: an alias was moved in MLflow; finished: an interrupted move was completed."""
    champion: str
    challenger: str
    why: str

    @property
    def sentence(self) -> str:
        """What was done, in one line."""
        subject = f"{self.tenant}, challenger {self.challenger}" if self.challenger else self.tenant
        return f"{subject}: {_WORDS[self.action]}: {self.why}"


@dataclass(frozen=True, slots=True)
class _FleetState:
    champions: Mapping[str, Version]
    challengers: Mapping[str, Version]
    known: Mapping[str, RolloutState]

    def list_drifted(self) -> list[str]:
        """Return the tenants with an alias that is not on the recorded version."""
        return [
            tenant for tenant in sorted({*self.champions, *self.challengers, *self.known}) if self._has_drifted(tenant)
        ]

    def _has_drifted(self, tenant: str) -> bool:
        champion, challenger = (_to_number(versions.get(tenant)) for versions in (self.champions, self.challengers))
        return bool(find_alias_drift(self.known.get(tenant), champion, challenger))


def run_cycle(
    workspace: Workspace, *, now_s: Callable[[], float] = time.time
) -> tuple[list[TenantCycleResult], list[TenantOutcome]]:
    """Run one cycle over all tenants; returns what was done, and the tenants that failed.

    `now_s` returns seconds since 1970.

    Raises:
        RegistryError: MLflow does not answer.
        WorkspaceError: the rollout's database does not answer, or another cycle runs in this workspace.
    """
    with hold_cycle_lock(workspace):
        failures: list[TenantOutcome] = []
        fleet = _leave_out_foreign(workspace, _read_fleet(workspace), failures)
        _warn_of_faults(fleet)
        drifted = fleet.list_drifted()
        unknown = fleet.champions.keys() - fleet.known.keys() - set(drifted)
        insert_unknown_states(
            workspace.database, [RolloutState(tenant=one, champion=fleet.champions[one].version) for one in unknown]
        )
        results: list[TenantCycleResult] = []
        states = dict(fleet.known)
        for tenant in drifted:
            with (
                catch_failure(tenant, _STAGE, failures),
                open_span("record aliases of tenant", tenant=tenant),
                lock_tenant(workspace, tenant, wait_s=_TENANT_WAIT_S) as lease,
            ):
                states[tenant] = lease.state
                results += [_to_result(change) for change in lease.alias_changes]
        trials: list[tuple[RolloutState, RolloutConfig]] = []
        for state in states.values():
            if _is_on_trial(state, fleet):  # else its alias has moved since it was read
                with catch_failure(state.tenant, _STAGE, failures):
                    trials.append((state, transitions.read_rollout_config(workspace, state.tenant)))
        until_minute = trial_reviews.find_last_minute(now_s())
        for review in trial_reviews.review_trials(workspace.database, trials, until_minute):
            tenant = review.state.tenant
            with catch_failure(tenant, _STAGE, failures), open_span("roll out tenant", tenant=tenant) as span:
                challenger = fleet.challengers[tenant]
                span.set(version=challenger.version)
                results.append(_roll_out_tenant(workspace, challenger, review, until_minute, now_s()))
                span.set(action=results[-1].action)
        _delete_old_rows(workspace, int(now_s() // 60))
        record_stored_bytes(workspace, once=True)
        return results, failures


def run_idle_cycle(workspace: Workspace, *, now_s: Callable[[], float] = time.time) -> bool:
    """Run a cycle if it would change no tenant, deliver no correction and send no event; return whether it did.

    Raises: as `run_cycle`.
    """
    with hold_cycle_lock(workspace):
        fleet = _read_fleet(workspace)
        aliased = [*fleet.champions.values(), *fleet.challengers.values()]
        has_news = fleet.list_drifted() or fleet.champions.keys() - fleet.known.keys()
        has_trials = fleet.challengers or any(state.challenger for state in fleet.known.values())
        if has_news or has_trials or any(version.fault for version in aliased):
            return False
        if list_tenants_with_corrections(workspace.database) or has_events(workspace.database):
            return False
        _delete_old_rows(workspace, int(now_s() // 60))
        record_stored_bytes(workspace, once=True)
        return True


def _delete_old_rows(workspace: Workspace, now_minute: int) -> None:
    """Delete old observations and ratings; by the newest observation if this machine's clock is ahead of it."""
    newest = find_newest_minute(workspace.database)
    until_minute = min(now_minute, now_minute if newest is None else newest) - _RETENTION_MINUTES
    for delete_before in (delete_observations_before, delete_ratings_before, delete_inputs_before):
        delete_before(workspace.database, until_minute)


@contextmanager
def hold_cycle_lock(workspace: Workspace, *, wait_s: float = 0.0) -> Iterator[None]:
    """Let no other cycle run in this workspace. Raises WorkspaceError if one still runs after `wait_s`."""
    lock = workspace.root / "var" / "rollout.lock"
    with hold_file_lock(lock, workspace.root, "wait until that cycle ends", wait_s=wait_s):
        yield


def summarize_cycle(results: list[TenantCycleResult], failures: list[TenantOutcome]) -> str:
    """Return a cycle in one line, for users."""
    counts = {name: sum(one.action == action for one in results) for action, name in _WORDS.items()}
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    parts += [f"{len(failures)} failed ({', '.join(one.tenant for one in failures)})"] if failures else []
    return ", ".join(parts) or "no trials"


def _read_fleet(workspace: Workspace) -> _FleetState:
    aliases = workspace.registry.poll_aliased(CHAMPION, CHALLENGER)
    return _FleetState(aliases[CHAMPION], aliases[CHALLENGER], read_states(workspace.database))


def _leave_out_foreign(workspace: Workspace, fleet: _FleetState, failures: list[TenantOutcome]) -> _FleetState:
    """Leave out the tenants of other workspaces; one that this workspace has rolled out itself is a failure."""
    foreign: set[str] = set()
    for version in (*fleet.champions.values(), *fleet.challengers.values()):
        if workspace.registry.is_foreign(version) and version.tenant not in foreign:
            foreign.add(version.tenant)
            if version.tenant in fleet.known:
                with catch_failure(version.tenant, _STAGE, failures):
                    workspace.registry.ownership.check_version(version, f"roll out {version.tenant}")
    return _FleetState(
        {tenant: version for tenant, version in fleet.champions.items() if tenant not in foreign},
        {tenant: version for tenant, version in fleet.challengers.items() if tenant not in foreign},
        {tenant: state for tenant, state in fleet.known.items() if tenant not in foreign},
    )


def _warn_of_faults(fleet: _FleetState) -> None:
    for alias, versions in ((CHAMPION, fleet.champions), (CHALLENGER, fleet.challengers)):
        for version in versions.values():
            if version.fault:
                fix = f"run `prefixfleet promote {version.tenant}` or `prefixfleet rollback {version.tenant}`"
                log_warning(f"{version.tenant}: {alias} version {version.version} cannot serve: {version.fault}; {fix}")


def _to_result(change: AliasChange) -> TenantCycleResult:
    return TenantCycleResult(
        change.after.tenant, change.kind, change.after.champion, change.after.challenger, change.why
    )


def _roll_out_tenant(
    workspace: Workspace, challenger: Version, review: TrialReview, until_minute: int, now_s: float
) -> TenantCycleResult:
    decision = _decide(challenger, review, now_s)
    if decision.action != "wait" and review.growth:
        (review,) = trial_reviews.judge_trials(workspace.database, [review], until_minute)
        decision = _decide(challenger, review, now_s)
    after = before = review.state
    if decision.action != "wait":
        with lock_tenant(workspace, before.tenant, wait_s=_TENANT_WAIT_S) as lease:
            if lease.state == before:
                after = _apply_decision(lease, decision, now_s)
            else:
                decision = RolloutDecision("wait", "the tenant was changed during this cycle")
                after = lease.state
    return TenantCycleResult(before.tenant, decision.action, after.champion, challenger.version, decision.why)


def _apply_decision(lease: TenantLease, decision: RolloutDecision, now_s: float) -> RolloutState:
    match decision.action:
        case "advance":
            return transitions.advance_trial(lease, decision.why, decision.figures, now_s)
        case "promote":
            return transitions.make_champion(
                lease, lease.state.challenger, transitions.ROLLOUT, decision.why, decision.figures
            )
        case "rollback":
            return transitions.roll_back_trial(lease, ROLLOUT, decision.why, decision.figures)
        case "wait":
            return lease.state


def _decide(challenger: Version, review: TrialReview, now_s: float) -> RolloutDecision:
    totals, verdict = review.totals, trial_reviews.read_offline_verdict(challenger)
    decision = decide_next_action(review.config, review.state, verdict, review.findings, totals.step_answers, now_s)
    if review.state.mode != "shadow":
        return decision
    return replace(decision, figures={**decision.figures, "agreed": totals.agreed, "shadowed": totals.shadowed})


def _is_on_trial(state: RolloutState, fleet: _FleetState) -> bool:
    return state.challenger != "" and state.challenger == _to_number(fleet.challengers.get(state.tenant))


def _to_number(version: Version | None) -> str:
    return version.version if version else ""
