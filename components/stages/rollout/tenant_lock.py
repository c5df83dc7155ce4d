"""Holds the tenant's lock and reconciles its recorded state with MLflow.

First, a move that a killed process left incomplete is completed, as that process's move. Then aliases that were moved
in MLflow directly are recorded, as moves by `mlflow`; they are never undone. Decides nothing.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from components.logs import log_context
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.policy import policy
from components.rollout.policy.alias_drift import find_alias_drift
from components.rollout.store import pending_moves
from components.rollout.store.tenant_state import read_state
from components.rollout.types import LedgerAction, RolloutState
from components.stages.progress import log_info
from components.stages.rollout.actors import Actor
from components.stages.rollout.transitions import (
    PROMOTED_TAG,
    AliasChange,
    TenantLease,
    format_now,
    make_move,
    make_trial_move,
    read_rollout_config,
    record_move,
    set_aliases,
    tag_rolled_back,
)
from components.stages.workspace import Workspace

_ACTOR = Actor("mlflow")
_REASON = "moved in MLflow"

MOVE_WAIT_S = 300.0
"""How long a command or a retraining waits for other moves of the same tenant."""


def wait_for_tenant(workspace: Workspace, tenant: str, *, wait_s: float = MOVE_WAIT_S) -> AbstractContextManager[None]:
    """Hold the lock of a tenant during a block, and read nothing. Raises WorkspaceError as `lock_tenant` does."""
    line = f"{tenant}: waiting for another move of its versions, for at most {wait_s:.0f} s"
    return workspace.database.lock(tenant, wait_s=wait_s, on_wait=lambda: log_info(line))


@contextmanager
def lock_tenant(workspace: Workspace, tenant: str, *, wait_s: float = MOVE_WAIT_S) -> Iterator[TenantLease]:
    """Hold the lock of a tenant during a block; yields its state, which agrees with MLflow.

    Processes that wait get the lock in the order in which they came, and say that they wait. The lock is released at
    the end of the block, or when the process ends.

    Raises:
        WorkspaceError: another process holds the lock after `wait_s` seconds, or the database does not answer.
        OwnershipError: the champion or the challenger belongs to another workspace.
        RegistryError: MLflow does not answer.
    """
    with log_context(tenant=tenant), wait_for_tenant(workspace, tenant, wait_s=wait_s):
        versions = _read_aliased(workspace, tenant)
        aliases = _map_aliases(versions)
        state = read_state(workspace.database, tenant)
        completed = list(_finish_pending_move(workspace, state, aliases))
        if completed:
            versions = _read_aliased(workspace, tenant)
            state, aliases = completed[0].after, _map_aliases(versions)
        if state == RolloutState(tenant=tenant):
            state = replace(state, champion=aliases.get(CHAMPION, ""))
        recorded = list(_record_alias_changes(workspace, state, aliases))
        if recorded:
            versions = _read_aliased(workspace, tenant)
            state, aliases = recorded[-1].after, _map_aliases(versions)
        yield TenantLease(
            workspace=workspace,
            state=state,
            aliases=aliases,
            champion_fault="".join(version.fault for version in versions if CHAMPION in version.aliases),
            alias_changes=[*completed, *recorded],
        )


def _read_aliased(workspace: Workspace, tenant: str) -> list[Version]:
    return workspace.registry.ownership.find_own_aliased(tenant, f"change the champion or the challenger of {tenant}")


def _map_aliases(versions: Iterable[Version]) -> dict[str, str]:
    return {alias: version.version for version in versions for alias in version.aliases}


def _finish_pending_move(
    workspace: Workspace, known: RolloutState, aliases: Mapping[str, str]
) -> Iterator[AliasChange]:
    """Complete a move whose process was killed after it set the first alias; drop one that had set none."""
    with workspace.database.transaction(f"the pending move of {known.tenant}") as connection:
        move = pending_moves.read_pending_move(connection, known.tenant)
        if move is None:
            return
        after, entry = move
        first = (CHAMPION, after.champion) if after.champion != known.champion else (CHALLENGER, after.challenger)
        if aliases.get(first[0], "") != first[1]:
            pending_moves.delete_pending_move(connection, known.tenant)
            return
    set_aliases(workspace, known, move, aliases)
    record_move(workspace, move)
    log_info(f"{known.tenant}: completed an interrupted {entry.action} by {entry.by}")
    yield AliasChange("finished", f"{entry.action} by {entry.by}: {entry.why}", after)


def _record_alias_changes(
    workspace: Workspace, known: RolloutState, aliases: Mapping[str, str]
) -> Iterator[AliasChange]:
    """Record aliases that were moved in MLflow; this may begin or end a trial."""
    state = known
    challenger = aliases.get(CHALLENGER, "")
    for drift in find_alias_drift(known, aliases.get(CHAMPION, ""), challenger):
        if drift.alias == "champion":
            state = _record_champion_change(workspace, drift.current, challenger, state)
        elif drift.current == state.challenger:  # the champion's change has ended the trial already
            continue
        else:
            state = _record_challenger_change(workspace, drift.current, state)
        log_info(f"{known.tenant}: {drift.sentence}, moved in MLflow")
        yield AliasChange("noticed", drift.sentence, state)


def _record_champion_change(workspace: Workspace, champion: str, challenger: str, before: RolloutState) -> RolloutState:
    """A trial starts again against the new champion, or ends if the challenger became champion."""
    after = replace(before, champion=champion)
    if champion:
        workspace.registry.set_tags(Version(before.tenant, champion), {PROMOTED_TAG: format_now()})
    if before.challenger and before.challenger == champion:
        workspace.registry.delete_alias(before.tenant, CHALLENGER)
        after = policy.end_trial(before, champion)
    elif before.challenger and challenger == before.challenger:
        after = policy.begin_trial(read_rollout_config(workspace, before.tenant), after, before.challenger, time.time())
    action: LedgerAction = "promote" if champion else "withdraw"
    record_move(workspace, make_move(after, action, _ACTOR, before.champion, champion, _REASON))
    return after


def _record_challenger_change(workspace: Workspace, challenger: str, before: RolloutState) -> RolloutState:
    if challenger:
        move = make_trial_move(workspace, challenger, before, _ACTOR, _REASON)
    else:
        tag_rolled_back(workspace, before.tenant, before.challenger)
        after = policy.end_trial(before, before.champion)
        move = make_move(after, "withdraw", _ACTOR, before.challenger, before.champion, _REASON)
    record_move(workspace, move)
    return move[0]
