"""Moves of a tenant's versions: each sets MLflow's aliases first, then writes standing and ledger in one transaction.

Killed in between, the move is noticed in MLflow by the next cycle of the rollout and recorded then. Who moves, and why,
is handed in. Decides nothing.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from components.config.rollout import RolloutConfig
from components.registry.versions import CHALLENGER, CHAMPION, Version
from components.rollout import ledger, policy, standings
from components.rollout.ledger import Action, Entry
from components.rollout.noticing import Noticed, noticed
from components.rollout.standings import Standing
from components.stages.progress import tell
from components.stages.workspace import Workspace

PROMOTED = "promoted"
"""Tag of a version that has been champion: when, in UTC."""
TAKEN_BACK = "taken_back"
"""Tag of a challenger that did not become champion: when, in UTC."""

_BY_MLFLOW = "mlflow"
_WHY_NOTICED = "moved in MLflow"

Moved = tuple[Standing, Entry]
Figures = Mapping[str, Any]


def make_champion(
    workspace: Workspace, version: Version, before: Standing, by: str, why: str, figures: Figures | None = None
) -> Moved:
    """Give a version the alias; a trial of the tenant ends, whoever was on it. To be recorded by the caller."""
    after = _crowned(workspace, version, before)
    return moved(after, "promote", by, before.champion, version.version, why, figures)


def restore(workspace: Workspace, version: Version, before: Standing, by: str, why: str) -> None:
    """Give an earlier version the alias again."""
    after = _crowned(workspace, version, before)
    record(workspace, [moved(after, "rollback", by, before.champion, version.version, why)])


def challenge(workspace: Workspace, version: Version, before: Standing, by: str, why: str) -> None:
    """Put a version on trial by the tenant's policy, in the place of another that may be on it."""
    workspace.registry.set_alias(version.tenant, CHALLENGER, version.version)
    record(workspace, [on_trial(workspace, version, before, by, why)])


def on_trial(workspace: Workspace, version: Version, before: Standing, by: str, why: str) -> Moved:
    """The trial of a version that has the alias already. To be recorded by the caller."""
    after = policy.begin(_config(workspace, version.tenant), before, version.version, time.time())
    replaced = f", in the place of version {before.challenger}" if before.challenger else ""
    tell(f"{version.tenant}: version {version.version} is challenger ({after.mode}, {after.share:.0%}){replaced}")
    figures = {"mode": after.mode, "share": after.share}
    return moved(after, "challenge", by, before.champion, version.version, why + replaced, figures)


def take_back(
    workspace: Workspace, version: Version, before: Standing, by: str, why: str, figures: Figures | None = None
) -> None:
    """End the trial of a challenger; the champion stays."""
    workspace.registry.delete_alias(version.tenant, CHALLENGER)
    workspace.registry.set_tags(version, {TAKEN_BACK: _now()})
    after = policy.ended(before, before.champion)
    record(workspace, [moved(after, "rollback", by, version.version, before.champion, why, figures)])
    tell(f"{version.tenant}: challenger {version.version} is taken back: {why}")


def advance(workspace: Workspace, before: Standing, why: str, figures: Figures, now_s: float) -> None:
    """Let a trial's next step begin."""
    after = policy.advanced(_config(workspace, before.tenant), before, now_s)
    record(workspace, [moved(after, "advance", "rollout", before.champion, before.challenger, why, figures)])
    tell(f"{before.tenant}: challenger {before.challenger}: {why}")


def follow(
    workspace: Workspace, tenant: str, champion: Version | None, challenger: Version | None, known: Standing | None
) -> Iterator[tuple[Noticed, Standing]]:
    """Record what was moved in MLflow since the tenant was last `known`; trials begin and end by it.

    Each difference with the standing after it. None: nothing is known of the tenant.
    """
    numbers = [version.version if version else "" for version in (champion, challenger)]
    before = known or Standing(tenant=tenant, champion=numbers[0])
    for difference in noticed(known, *numbers):
        if difference.alias == "champion":
            before = _follow_champion(workspace, champion, challenger, before, _BY_MLFLOW, _WHY_NOTICED)
        elif difference.today == before.challenger:  # the champion's move has ended the trial already
            continue
        else:
            tried = challenger if difference.today else None
            before = _follow_challenger(workspace, tried, before, _BY_MLFLOW, _WHY_NOTICED)
        tell(f"{tenant}: {difference.sentence}, moved in MLflow")
        yield difference, before


def _follow_champion(
    workspace: Workspace, champion: Version | None, challenger: Version | None, before: Standing, by: str, why: str
) -> Standing:
    """Record a champion that somebody else has moved; a trial starts anew against it, or is over if it was on trial."""
    number = champion.version if champion else ""
    after = replace(before, champion=number)
    if champion:
        workspace.registry.set_tags(champion, {PROMOTED: _now()})
    if before.challenger and before.challenger == number:
        workspace.registry.delete_alias(before.tenant, CHALLENGER)
        after = policy.ended(before, number)
    elif before.challenger and challenger and challenger.version == before.challenger:
        after = policy.begin(_config(workspace, before.tenant), after, before.challenger, time.time())
    action: Action = "promote" if number else "withdraw"
    record(workspace, [moved(after, action, by, before.champion, number, why)])
    return after


def _follow_challenger(
    workspace: Workspace, challenger: Version | None, before: Standing, by: str, why: str
) -> Standing:
    """Record a challenger that somebody else has put on trial or taken away."""
    if challenger is not None:
        made = on_trial(workspace, challenger, before, by, why)
    else:
        for version in workspace.registry.versions(before.tenant):  # unless it was deleted there
            if version.version == before.challenger:
                workspace.registry.set_tags(version, {TAKEN_BACK: _now()})
        after = policy.ended(before, before.champion)
        made = moved(after, "withdraw", by, before.challenger, before.champion, why)
    record(workspace, [made])
    return made[0]


def adopt(workspace: Workspace, found: Sequence[Standing]) -> None:
    """Remember champions that nothing was known of; no move, so no line in the ledger."""
    if found:
        with workspace.database.writing("to remember champions") as connection:
            standings.put(connection, found)


def record(workspace: Workspace, moves: Sequence[Moved]) -> None:
    """Write moves that were made: standings and ledger in one transaction. Raises WorkspaceError."""
    if moves:
        with workspace.database.writing("to record moves of versions") as connection:
            standings.put(connection, [after for after, _ in moves])
            ledger.write(connection, *(entry for _, entry in moves))


def moved(
    after: Standing,
    action: Action,
    by: str,
    from_version: str,
    to_version: str,
    why: str,
    figures: Figures | None = None,
) -> Moved:
    """A move as it is recorded."""
    return after, Entry(
        tenant=after.tenant,
        by=by,
        action=action,
        from_version=from_version,
        to_version=to_version,
        why=why,
        figures=figures or {},
    )


def _crowned(workspace: Workspace, version: Version, before: Standing) -> Standing:
    registry = workspace.registry
    registry.set_alias(version.tenant, CHAMPION, version.version)
    registry.set_tags(version, {PROMOTED: _now()})
    if before.challenger or CHALLENGER in version.aliases:
        registry.delete_alias(version.tenant, CHALLENGER)
    tell(f"{version.tenant}: version {version.version} is champion")
    return policy.ended(before, version.version)


def _config(workspace: Workspace, tenant: str) -> RolloutConfig:
    return workspace.params.for_tenant(tenant).rollout


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
