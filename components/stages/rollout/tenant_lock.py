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
from components.rollout.policy.alias_drift import noticed
from components.rollout.store import pending_moves
from components.rollout.store.tenant_state import standing
from components.rollout.types import Action, Standing
from components.stages.progress import tell
from components.stages.rollout.transitions import (
    PROMOTED,
    News,
    Turn,
    align,
    config_of,
    moved,
    now,
    on_trial,
    record,
    tag_taken_back,
)
from components.stages.workspace import Workspace

_BY = "mlflow"
_WHY = "moved in MLflow"


@contextmanager
def turn(workspace: Workspace, tenant: str) -> Iterator[Turn]:
    """Take it; it ends with the block, or with the process.

    Raises:
        WorkspaceError: somebody else's does not end in time, or the database does not answer.
        RegistryError: MLflow does not answer.
    """
    with workspace.database.turn(tenant):
        aliases = workspace.registry.aliases(tenant)
        known = standing(workspace.database, tenant)
        news = list(_finish(workspace, known, aliases))
        if news:
            known, aliases = news[0].after, workspace.registry.aliases(tenant)
        if known == Standing(tenant=tenant):
            known = replace(known, champion=aliases.get(CHAMPION, ""))
        followed = list(_follow(workspace, known, aliases))
        if followed:
            known, aliases = followed[-1].after, workspace.registry.aliases(tenant)
        yield Turn(workspace=workspace, standing=known, aliases=aliases, news=[*news, *followed])


def _finish(workspace: Workspace, known: Standing, aliases: Mapping[str, str]) -> Iterator[News]:
    """What a killed process had begun; what it had only intended is let go."""
    with workspace.database.writing(f"what was begun at {known.tenant}") as connection:
        intent = pending_moves.intended(connection, known.tenant)
        if intent is None:
            return
        after, entry = intent
        first = (CHAMPION, after.champion) if after.champion != known.champion else (CHALLENGER, after.challenger)
        if aliases.get(first[0], "") != first[1]:
            pending_moves.drop(connection, known.tenant)
            return
    align(workspace, known, intent, aliases)
    record(workspace, intent)
    tell(f"{known.tenant}: a {entry.action} by {entry.by} was begun and is finished now")
    yield News("finished", f"{entry.action} by {entry.by}: {entry.why}", after)


def _follow(workspace: Workspace, known: Standing, aliases: Mapping[str, str]) -> Iterator[News]:
    """What was moved in MLflow since; trials begin and end by it."""
    before = known
    challenger = aliases.get(CHALLENGER, "")
    for difference in noticed(known, aliases.get(CHAMPION, ""), challenger):
        if difference.alias == "champion":
            before = _follow_champion(workspace, difference.today, challenger, before)
        elif difference.today == before.challenger:  # the champion's move has ended the trial already
            continue
        else:
            before = _follow_challenger(workspace, difference.today, before)
        tell(f"{known.tenant}: {difference.sentence}, moved in MLflow")
        yield News("noticed", difference.sentence, before)


def _follow_champion(workspace: Workspace, champion: str, challenger: str, before: Standing) -> Standing:
    """A trial starts anew against a new champion, or is over if that was on trial."""
    after = replace(before, champion=champion)
    if champion:
        workspace.registry.set_tags(Version(before.tenant, champion), {PROMOTED: now()})
    if before.challenger and before.challenger == champion:
        workspace.registry.delete_alias(before.tenant, CHALLENGER)
        after = policy.ended(before, champion)
    elif before.challenger and challenger == before.challenger:
        after = policy.begin(config_of(workspace, before.tenant), after, before.challenger, time.time())
    action: Action = "promote" if champion else "withdraw"
    record(workspace, moved(after, action, _BY, before.champion, champion, _WHY))
    return after


def _follow_challenger(workspace: Workspace, challenger: str, before: Standing) -> Standing:
    if challenger:
        made = on_trial(workspace, challenger, before, _BY, _WHY)
    else:
        tag_taken_back(workspace, before.tenant, before.challenger)
        after = policy.ended(before, before.champion)
        made = moved(after, "withdraw", _BY, before.challenger, before.champion, _WHY)
    record(workspace, made)
    return made[0]
