"""Moves of a tenant's versions, each in its turn: intended, then MLflow's aliases, then standing and ledger at once.

A process killed in between leaves its intent, which the next turn finishes. Who moves, and why, is handed in. Decides
nothing.
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
from components.rollout.store import ledger, pending_moves, rollback_outbox, tenant_state
from components.rollout.store.pending_moves import Moved
from components.rollout.types import Action, Entry, Standing
from components.stages.progress import tell
from components.stages.workspace import Workspace

PROMOTED = "promoted"
"""Tag of a version that has been champion: when, in UTC."""
TAKEN_BACK = "taken_back"
"""Tag of a challenger that did not become champion: when, in UTC."""

Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class News:
    """A move that a turn found at its beginning: made in MLflow by somebody, or half made by a process that died."""

    kind: Literal["noticed", "finished"]
    why: str
    after: Standing


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A tenant whose versions nobody else of us moves meanwhile; good for one move."""

    workspace: Workspace
    standing: Standing
    """In agreement with MLflow."""
    aliases: Mapping[str, str]
    """MLflow's: alias -> version."""
    news: Sequence[News]


def make_champion(turn: Turn, version: str, by: str, why: str, figures: Figures | None = None) -> Standing:
    """Give a version the alias; a trial of the tenant ends, whoever was on it."""
    before = turn.standing
    after = policy.ended(before, version)
    return _make(turn, moved(after, "promote", by, before.champion, version, why, figures))


def restore(turn: Turn, version: str, by: str, why: str) -> Standing:
    """Give an earlier version the alias again."""
    before = turn.standing
    return _make(turn, moved(policy.ended(before, version), "rollback", by, before.champion, version, why))


def challenge(turn: Turn, version: str, by: str, why: str) -> Standing:
    """Put a version on trial by the tenant's policy, in the place of another that may be on it."""
    return _make(turn, on_trial(turn.workspace, version, turn.standing, by, why))


def take_back(turn: Turn, by: str, why: str, figures: Figures | None = None) -> Standing:
    """End the trial; the champion stays."""
    before = turn.standing
    after = policy.ended(before, before.champion)
    tell(f"{before.tenant}: challenger {before.challenger} is taken back: {why}")
    return _make(turn, moved(after, "rollback", by, before.challenger, before.champion, why, figures))


def advance(turn: Turn, why: str, figures: Figures, now_s: float) -> Standing:
    """Let the trial's next step begin; no alias changes."""
    before = turn.standing
    after = policy.advanced(config_of(turn.workspace, before.tenant), before, now_s)
    record(turn.workspace, moved(after, "advance", "rollout", before.champion, before.challenger, why, figures))
    tell(f"{before.tenant}: challenger {before.challenger}: {why}")
    return after


def on_trial(workspace: Workspace, version: str, before: Standing, by: str, why: str) -> Moved:
    """The trial of a version, as it is recorded."""
    after = policy.begin(config_of(workspace, before.tenant), before, version, time.time())
    replaced = f", in the place of version {before.challenger}" if before.challenger else ""
    tell(f"{before.tenant}: version {version} is challenger ({after.mode}, {after.share:.0%}){replaced}")
    figures = {"mode": after.mode, "share": after.share}
    return moved(after, "challenge", by, before.champion, version, why + replaced, figures)


def align(workspace: Workspace, before: Standing, move: Moved, aliases: Mapping[str, str]) -> None:
    """Bring MLflow's aliases and tags to where a move goes; the champion first. Safe to do again."""
    after, entry = move
    registry, tenant = workspace.registry, after.tenant
    if aliases.get(CHAMPION, "") != after.champion:
        registry.set_alias(tenant, CHAMPION, after.champion)
    if entry.action == "promote" or after.champion != before.champion:
        registry.set_tags(Version(tenant, after.champion), {PROMOTED: now()})
        tell(f"{tenant}: version {after.champion} is champion")
    if after.challenger and aliases.get(CHALLENGER) != after.challenger:
        registry.set_alias(tenant, CHALLENGER, after.challenger)
    if not after.challenger and CHALLENGER in aliases:
        registry.delete_alias(tenant, CHALLENGER)
    if entry.action in ("promote", "rollback") and before.challenger not in ("", after.champion):
        tag_taken_back(workspace, tenant, before.challenger)


def tag_taken_back(workspace: Workspace, tenant: str, number: str) -> None:
    """Remember it with a version, unless that was deleted in MLflow."""
    for version in workspace.registry.versions(tenant):
        if version.version == number:
            workspace.registry.set_tags(version, {TAKEN_BACK: now()})


def record(workspace: Workspace, move: Moved) -> None:
    """Write a move that was made: standing and ledger in one transaction. Raises WorkspaceError."""
    after, entry = move
    with workspace.database.writing("to record a move of a version") as connection:
        tenant_state.put(connection, [after])
        ledger.write(connection, entry)
        if entry.action == "rollback":
            rollback_outbox.add(connection, entry)
        pending_moves.drop(connection, after.tenant)


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


def config_of(workspace: Workspace, tenant: str) -> RolloutConfig:
    """A tenant's policy. Raises ConfigError."""
    return workspace.params.for_tenant(tenant).rollout


def now() -> str:
    """For tags."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _make(turn: Turn, move: Moved) -> Standing:
    with turn.workspace.database.writing("to write down a move before it is made") as connection:
        tenant_state.put(connection, [turn.standing])
        pending_moves.intend(connection, move)
    try:
        align(turn.workspace, turn.standing, move, turn.aliases)
    except RegistryError:
        _let_go_of_a_forgotten(turn)
        raise
    record(turn.workspace, move)
    return move[0]


def _let_go_of_a_forgotten(turn: Turn) -> None:
    """A tenant without any version was forgotten before its turn: what was written down of it since goes again."""
    tenant = turn.standing.tenant
    if not turn.workspace.registry.versions(tenant):
        with turn.workspace.database.writing(f"to let go of {tenant}") as connection:
            pending_moves.drop(connection, tenant)
            tenant_state.drop(connection, tenant)
