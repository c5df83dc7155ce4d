"""A tenant's turn: nobody else of us moves its versions meanwhile, and it begins in agreement with MLflow.

First a move is finished that a killed process left half made, as that process's. Then what a person did in MLflow's own
page is recorded, as by `mlflow`; it is never undone. Decides nothing.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.policy import policy
from components.rollout.policy.alias_drift import find_alias_drift
from components.rollout.store import pending_moves
from components.rollout.store.tenant_state import read_state
from components.rollout.types import LedgerAction, RolloutState
from components.stages.progress import log_info
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

_ACTOR = "mlflow"
_REASON = "moved in MLflow"


@contextmanager
def lock_tenant(workspace: Workspace, tenant: str) -> Iterator[TenantLease]:
    """Take it; it ends with the block, or with the process.

    Raises:
        WorkspaceError: somebody else's does not end in time, or the database does not answer.
        RegistryError: MLflow does not answer.
    """
    with workspace.database.lock(tenant):
        aliases = workspace.registry.find_aliases(tenant)
        known = read_state(workspace.database, tenant)
        news = list(_finish_pending_move(workspace, known, aliases))
        if news:
            known, aliases = news[0].after, workspace.registry.find_aliases(tenant)
        if known == RolloutState(tenant=tenant):
            known = replace(known, champion=aliases.get(CHAMPION, ""))
        followed = list(_record_alias_changes(workspace, known, aliases))
        if followed:
            known, aliases = followed[-1].after, workspace.registry.find_aliases(tenant)
        yield TenantLease(workspace=workspace, state=known, aliases=aliases, alias_changes=[*news, *followed])


def _finish_pending_move(
    workspace: Workspace, known: RolloutState, aliases: Mapping[str, str]
) -> Iterator[AliasChange]:
    """What a killed process had begun; what it had only intended is let go."""
    with workspace.database.transaction(f"what was begun at {known.tenant}") as connection:
        intent = pending_moves.read_pending_move(connection, known.tenant)
        if intent is None:
            return
        after, entry = intent
        first = (CHAMPION, after.champion) if after.champion != known.champion else (CHALLENGER, after.challenger)
        if aliases.get(first[0], "") != first[1]:
            pending_moves.delete_pending_move(connection, known.tenant)
            return
    set_aliases(workspace, known, intent, aliases)
    record_move(workspace, intent)
    log_info(f"{known.tenant}: a {entry.action} by {entry.by} was begun and is finished now")
    yield AliasChange("finished", f"{entry.action} by {entry.by}: {entry.why}", after)


def _record_alias_changes(
    workspace: Workspace, known: RolloutState, aliases: Mapping[str, str]
) -> Iterator[AliasChange]:
    """What was moved in MLflow since; trials begin and end by it."""
    before = known
    challenger = aliases.get(CHALLENGER, "")
    for difference in find_alias_drift(known, aliases.get(CHAMPION, ""), challenger):
        if difference.alias == "champion":
            before = _record_champion_change(workspace, difference.current, challenger, before)
        elif difference.current == before.challenger:  # the champion's move has ended the trial already
            continue
        else:
            before = _record_challenger_change(workspace, difference.current, before)
        log_info(f"{known.tenant}: {difference.sentence}, moved in MLflow")
        yield AliasChange("noticed", difference.sentence, before)


def _record_champion_change(workspace: Workspace, champion: str, challenger: str, before: RolloutState) -> RolloutState:
    """A trial starts anew against a new champion, or is over if that was on trial."""
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
        made = make_trial_move(workspace, challenger, before, _ACTOR, _REASON)
    else:
        tag_rolled_back(workspace, before.tenant, before.challenger)
        after = policy.end_trial(before, before.champion)
        made = make_move(after, "withdraw", _ACTOR, before.challenger, before.champion, _REASON)
    record_move(workspace, made)
    return made[0]
