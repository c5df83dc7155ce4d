"""Manual commands on a tenant's rollout: promote, roll back, pause, pin and adopt, each under the tenant's lock."""

import time
from dataclasses import replace
from typing import Literal

from components.data.schema import check_tenant_id
from components.errors import RegistryError
from components.otel.spans import open_root
from components.registry.mlflow.versions import CHALLENGER, Version
from components.rollout.policy import policy
from components.rollout.policy.former_champions import list_former_champions
from components.rollout.store.ledger import read_history, write_entries
from components.rollout.types import LedgerEntry, RolloutState
from components.stages.notifications import announce
from components.stages.progress import join_abbreviated, log_info
from components.stages.rollout.actors import Actor, find_command_actor
from components.stages.rollout.engine_checks import check_engine
from components.stages.rollout.tenant_lock import lock_tenant, wait_for_tenant
from components.stages.rollout.transitions import (
    make_champion,
    make_move,
    record_move,
    restore_champion,
    roll_back_trial,
)
from components.stages.workspace import Workspace

HoldAction = Literal["pause", "resume", "pin", "unpin"]

_REASON = "by hand"
_MESSAGES = {
    "pause": "the trial is paused",
    "resume": "the trial is resumed",
    "pin": "version {0.champion} is pinned",
    "unpin": "version {0.champion} is no longer pinned",
}


def promote(workspace: Workspace, tenant: str, number: str | None = None, by: Actor | None = None) -> Version:
    """Make a version champion: version `number`, else the challenger, else the newest.

    Raises:
        ConfigError: the engine in params.yaml cannot answer with it.
        OwnershipError: the version, the champion or the challenger belongs to another workspace.
        RegistryError: the tenant has no versions, or not this one; it cannot serve; or the champion is pinned.
    """
    with open_root("promote", tenant=tenant) as span, lock_tenant(workspace, tenant) as lease:
        refuse_pinned(lease.state)
        version = choose_version(workspace.registry.find_versions(tenant), tenant, number)
        workspace.registry.ownership.check_version(version, f"promote version {version.version} of {tenant}")
        check_engine(workspace, version)
        make_champion(lease, version.version, by or find_command_actor(), _REASON)
        span.set(version=version.version)
    return version


def roll_back(workspace: Workspace, tenant: str, to: str | None = None, by: Actor | None = None) -> tuple[str, str]:
    """End the trial if there is one, else make the champion before the current one champion again.

    With `to`, make that version champion. The champion before comes from the ledger, and is never a version that was
    rolled back itself.

    Returns the version that was replaced, and the champion ("": none).

    Raises:
        RegistryError: there is no champion, or none before it; or the champion is pinned.
    """
    with open_root("roll back", tenant=tenant) as span, lock_tenant(workspace, tenant) as lease:
        before = lease.state
        refuse_pinned(before)
        if before.challenger and to is None:
            roll_back_trial(lease, by or find_command_actor(), _REASON)
            span.set(version=before.champion)
            return before.challenger, before.champion
        if not before.champion:
            raise RegistryError(f"a champion of {tenant} to roll back from", "none", "see `prefixfleet status`")
        versions = workspace.registry.find_versions(tenant)
        former = choose_version(versions, tenant, to) if to else find_former_champion(workspace, versions, before)
        workspace.registry.ownership.check_version(former, f"roll {tenant} back to version {former.version}")
        restore_champion(lease, former.version, by or find_command_actor(), _REASON)
        span.set(version=former.version)
        return before.champion, former.version


def adopt(workspace: Workspace, tenant: str, by: Actor | None = None) -> list[Version]:
    """Take a tenant over from another workspace: all its versions become this workspace's. Moves no alias.

    Returns the versions that were another workspace's, as they were.

    Raises:
        RegistryError: the tenant has no version of another workspace.
    """
    check_tenant_id(tenant)
    with wait_for_tenant(workspace, tenant):
        foreign = workspace.registry.ownership.adopt(tenant)
        if not foreign:
            raise RegistryError(f"versions of {tenant} that belong to another workspace", "none", "no action is needed")
        owners = join_abbreviated(sorted({version.owner for version in foreign}))
        actor = by or find_command_actor()
        entry = LedgerEntry(
            tenant=tenant,
            by=actor.name,
            origin=actor.origin,
            action="adopt",
            why=f"versions {join_abbreviated([version.version for version in foreign])} of workspace {owners}",
        )
        with workspace.database.transaction("to write to the ledger") as connection:
            write_entries(connection, entry)
            announce(workspace, connection, entry)
    log_info(f"{tenant}: {len(foreign)} versions taken over from workspace {owners}")
    return foreign


def hold(workspace: Workspace, tenant: str, action: HoldAction, by: Actor | None = None) -> RolloutState:
    """Pause or resume a trial, pin or unpin a champion; idempotent.

    A paused trial keeps its share and does not advance, but is still rolled back if a check calls the challenger worse.
    A pinned champion stays until it is unpinned: new versions are registered, and neither promoted nor tried.

    Raises:
        RegistryError: there is no trial to pause or resume, or no champion to pin.
    """
    with open_root(action, tenant=tenant), lock_tenant(workspace, tenant) as lease:
        before = lease.state
        if action in ("pause", "resume") and not before.challenger:
            raise RegistryError(f"a trial of {tenant} to {action}", "none", f"see `prefixfleet history {tenant}`")
        if action == "pin" and not before.champion:
            raise RegistryError(f"a champion of {tenant} to pin", "none", f"run `prefixfleet promote {tenant}`")
        after = _apply_hold(before, action, time.time())
        if after != before:
            subject = after.challenger if action in ("pause", "resume") else after.champion
            record_move(workspace, make_move(after, action, by or find_command_actor(), subject, subject, _REASON))
    log_info(f"{tenant}: {_MESSAGES[action].format(after)}")
    return after


def _apply_hold(before: RolloutState, action: HoldAction, now_s: float) -> RolloutState:
    match action:
        case "pause":
            return before if before.paused_s else replace(before, paused_s=now_s)
        case "resume":
            return policy.resume_trial(before, now_s) if before.paused_s else before
        case "pin" | "unpin":
            return replace(before, pinned=action == "pin")


def choose_version(versions: list[Version], tenant: str, number: str | None) -> Version:
    """Return version `number` of the tenant, else its challenger, else the newest that can serve.

    Raises:
        RegistryError: there is no such version, or none that can serve.
    """
    candidates = [version for version in versions if number is None or version.version == number]
    if not candidates:
        known = ", ".join(version.version for version in versions) or "none"
        wanted = f"version {number} of {tenant}" if number else f"a version of {tenant}"
        raise RegistryError(wanted, f"versions: {known}", "run `prefixfleet retrain`, or choose one of these")
    chosen = next((version for version in candidates if CHALLENGER in version.aliases and not version.fault), None)
    chosen = chosen or next((version for version in candidates if not version.fault), None)
    if chosen is None:
        wanted = f"a version of {tenant} that can serve"
        got = f"version {candidates[0].version}: {candidates[0].fault}"
        raise RegistryError(wanted, got, "run `prefixfleet retrain`, or choose another version")
    return chosen


def find_former_champion(workspace: Workspace, versions: list[Version], before: RolloutState) -> Version:
    """Return the champion before the current one, by the ledger. Raises RegistryError if there is none."""
    existing = {version.version: version for version in versions}
    for number in list_former_champions(read_history(workspace.database, before.tenant)):
        if number in existing and not existing[number].fault:
            return existing[number]
    wanted = f"a champion of {before.tenant} before version {before.champion}"
    raise RegistryError(wanted, "none", f"choose a version: `prefixfleet rollback {before.tenant} --to N`")


def refuse_pinned(state: RolloutState) -> None:
    """Raise RegistryError if the champion is pinned."""
    if state.pinned:
        fix = f"run `prefixfleet pin {state.tenant} --off`"
        raise RegistryError(
            f"a champion of {state.tenant} that is not pinned", f"version {state.champion} is pinned", fix
        )
