"""Moves of a tenant's versions: a write-ahead record, then MLflow's aliases, then state and ledger in one transaction.

A process that is killed in between leaves its write-ahead record; whoever locks the tenant next completes the move.
Decides nothing: the actor and the reason are arguments.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from components.config.rollout import RolloutConfig
from components.errors import RegistryError
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.policy import policy
from components.rollout.store import ledger, pending_moves, tenant_state
from components.rollout.store.pending_moves import RecordedMove
from components.rollout.types import LedgerAction, LedgerEntry, RolloutState
from components.stages.notifications import announce
from components.stages.progress import log_info
from components.stages.rollout.actors import Actor
from components.stages.workspace import Workspace

PROMOTED_TAG = "promoted"
"""Tag of a version that has been champion: when it was promoted, in UTC."""
TAKEN_BACK_TAG = "taken_back"
"""Tag of a challenger whose trial ended without promotion: when, in UTC."""

ROLLOUT = Actor("rollout")
"""Who makes the moves of the scheduled cycle."""

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AliasChange:
    """A move that was found when the tenant was locked."""

    kind: Literal["noticed", "finished"]
    """noticed: an alias was moved in MLflow; finished: an interrupted move was completed."""
    why: str
    after: RolloutState


@dataclass(frozen=True, kw_only=True)
class TenantLease:
    """A tenant whose lock is held; valid for one move."""

    workspace: Workspace
    state: RolloutState
    """Agrees with MLflow."""
    aliases: Mapping[str, str]
    """In MLflow: alias -> version."""
    champion_fault: str
    """Why the champion cannot serve; "": it can, or there is none."""
    alias_changes: Sequence[AliasChange]
    """What was found when the tenant was locked."""


def make_champion(
    lease: TenantLease, version: str, by: Actor, why: str, figures: Figures | None = None
) -> RolloutState:
    """Promote a version to champion; a trial of the tenant ends, also that of another version."""
    before = lease.state
    after = policy.end_trial(before, version)
    return _execute_move(lease, make_move(after, "promote", by, before.champion, version, why, figures))


def restore_champion(lease: TenantLease, version: str, by: Actor, why: str) -> RolloutState:
    """Roll back to an earlier version."""
    before = lease.state
    return _execute_move(
        lease, make_move(policy.end_trial(before, version), "rollback", by, before.champion, version, why)
    )


def start_trial(lease: TenantLease, version: str, by: Actor, why: str) -> RolloutState:
    """Start a trial of a version by the tenant's policy; it replaces a running trial."""
    return _execute_move(lease, make_trial_move(lease.workspace, version, lease.state, by, why))


def roll_back_trial(lease: TenantLease, by: Actor, why: str, figures: Figures | None = None) -> RolloutState:
    """End the trial and keep the champion."""
    before = lease.state
    after = policy.end_trial(before, before.champion)
    log_info(f"{before.tenant}: challenger {before.challenger} is rolled back: {why}")
    return _execute_move(lease, make_move(after, "rollback", by, before.challenger, before.champion, why, figures))


def advance_trial(lease: TenantLease, why: str, figures: Figures, now_s: float) -> RolloutState:
    """Begin the trial's next step; no alias changes."""
    before = lease.state
    after = policy.advance_step(read_rollout_config(lease.workspace, before.tenant), before, now_s)
    record_move(lease.workspace, make_move(after, "advance", ROLLOUT, before.champion, before.challenger, why, figures))
    log_info(f"{before.tenant}: challenger {before.challenger}: {why}")
    return after


def make_trial_move(workspace: Workspace, version: str, before: RolloutState, by: Actor, why: str) -> RecordedMove:
    """Return the record of the start of a trial."""
    after = policy.begin_trial(read_rollout_config(workspace, before.tenant), before, version, time.time())
    replaced = f", replacing version {before.challenger}" if before.challenger else ""
    log_info(f"{before.tenant}: version {version} is now challenger ({after.mode}, {after.share:.0%}){replaced}")
    figures = {"mode": after.mode, "share": after.share}
    return make_move(after, "challenge", by, before.champion, version, why + replaced, figures)


def set_aliases(workspace: Workspace, before: RolloutState, move: RecordedMove, aliases: Mapping[str, str]) -> None:
    """Set MLflow's aliases and tags as after a move, the champion's first. Idempotent."""
    after, entry = move
    registry, tenant = workspace.registry, after.tenant
    if aliases.get(CHAMPION, "") != after.champion:
        registry.set_alias(tenant, CHAMPION, after.champion)
    if entry.action == "promote" or after.champion != before.champion:
        registry.set_tags(Version(tenant, after.champion), {PROMOTED_TAG: format_now()})
        log_info(f"{tenant}: version {after.champion} is now champion")
    if after.challenger and aliases.get(CHALLENGER) != after.challenger:
        registry.set_alias(tenant, CHALLENGER, after.challenger)
    if not after.challenger and CHALLENGER in aliases:
        registry.delete_alias(tenant, CHALLENGER)
    if entry.action in ("promote", "rollback") and before.challenger not in ("", after.champion):
        tag_rolled_back(workspace, tenant, before.challenger)


def tag_rolled_back(workspace: Workspace, tenant: str, number: str) -> None:
    """Tag a version as rolled back, unless it was deleted in MLflow."""
    for version in workspace.registry.find_versions(tenant):
        if version.version == number:
            workspace.registry.set_tags(version, {TAKEN_BACK_TAG: format_now()})


def record_move(workspace: Workspace, move: RecordedMove) -> None:
    """Write the state, the ledger entry and the events of a move in one transaction. Raises WorkspaceError."""
    after, entry = move
    with workspace.database.transaction("to record a move of a version") as connection:
        tenant_state.write_states(connection, [after])
        ledger.write_entries(connection, entry)
        announce(workspace, connection, entry)
        pending_moves.delete_pending_move(connection, after.tenant)


def make_move(
    after: RolloutState,
    action: LedgerAction,
    by: Actor,
    from_version: str,
    to_version: str,
    why: str,
    figures: Figures | None = None,
) -> RecordedMove:
    """Return the record of a move: the state after it and its ledger entry."""
    return after, LedgerEntry(
        tenant=after.tenant,
        by=by.name,
        origin=by.origin,
        action=action,
        from_version=from_version,
        to_version=to_version,
        why=why,
        figures=figures or {},
    )


def read_rollout_config(workspace: Workspace, tenant: str) -> RolloutConfig:
    """Return a tenant's rollout section. Raises ConfigError."""
    return workspace.params.for_tenant(tenant).rollout


def format_now() -> str:
    """Return the time in UTC, for tags."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _execute_move(lease: TenantLease, move: RecordedMove) -> RolloutState:
    with lease.workspace.database.transaction("to save a move before it is made") as connection:
        tenant_state.write_states(connection, [lease.state])
        pending_moves.save_pending_move(connection, move)
    try:
        set_aliases(lease.workspace, lease.state, move, lease.aliases)
    except RegistryError:
        _delete_if_forgotten(lease)
        raise
    record_move(lease.workspace, move)
    return move[0]


def _delete_if_forgotten(lease: TenantLease) -> None:
    """Delete the pending move and the state of a tenant that has no version: it was forgotten before it was locked."""
    tenant = lease.state.tenant
    if not lease.workspace.registry.find_versions(tenant):
        with lease.workspace.database.transaction(f"to delete the pending move of {tenant}") as connection:
            pending_moves.delete_pending_move(connection, tenant)
            tenant_state.delete_state(connection, tenant)
