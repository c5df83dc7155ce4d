"""What a person can do with a tenant's rollout now: each move with a sentence that says what it will do, or why not.

A move that was offered is made by the functions of the manual commands, and only as long as the tenant's versions are
those that the sentence named. Knows no page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from components.errors import MoveRefusedError, RegistryError
from components.registry.registry import Version
from components.rollout.types import RolloutState
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.workspace import Workspace

OfferedMove = Literal["promote", "rollback", "pause", "resume", "pin", "unpin"]
MOVES: tuple[OfferedMove, ...] = get_args(OfferedMove)


@dataclass(frozen=True, slots=True)
class MoveOffer:
    """One move of a tenant."""

    move: OfferedMove
    sentence: str
    """What the move will do; "": it cannot be made."""
    obstacle: str = ""
    """Why it cannot be made, and what to do; "": it can."""
    version: str = ""
    """The version that becomes or stays champion, or whose trial is paused."""


def describe_situation(state: RolloutState) -> str:
    """Return a text that changes whenever the tenant's versions, step, pause or pin change."""
    parts = (state.champion, state.challenger, state.mode, str(state.step), str(state.paused_s), str(state.pinned))
    return "/".join(parts)


def list_offers(workspace: Workspace, state: RolloutState) -> list[MoveOffer]:
    """Return the moves of a tenant: promote, roll back, pause or resume, pin or unpin. Raises RegistryError."""
    versions = workspace.registry.find_versions(state.tenant)
    makers: list[tuple[OfferedMove, Callable[[], tuple[str, str]]]] = [
        ("promote", lambda: _describe_promotion(state, versions)),
        ("rollback", lambda: _describe_rollback(workspace, state, versions)),
        ("resume" if state.paused_s else "pause", lambda: _describe_pause(state)),
        ("unpin" if state.pinned else "pin", lambda: _describe_pin(state)),
    ]
    return [_make_offer(move, make) for move, make in makers]


def find_offer(workspace: Workspace, state: RolloutState, move: OfferedMove) -> MoveOffer:
    """Return a move of a tenant that can be made now.

    Raises:
        MoveRefusedError: it cannot be made, or was made already.
        RegistryError: MLflow does not answer.
    """
    offer = next((one for one in list_offers(workspace, state) if one.move == move), None)
    if offer is None or offer.obstacle:
        got = f"{move}, which cannot be ({offer.obstacle})" if offer else f"{move}, which was made already"
        raise MoveRefusedError(f"a move of {state.tenant} that can be made now", got, "read the page again")
    return offer


def make_offered_move(workspace: Workspace, state: RolloutState, move: OfferedMove, situation: str, by: Actor) -> str:
    """Make a move that was offered in this situation; return what was done as a sentence. `by`: for the ledger.

    Raises:
        MoveRefusedError: the tenant's versions were moved since the offer, or the move cannot be made.
        RegistryError: MLflow does not answer, or the versions were moved at this moment.
    """
    if situation != describe_situation(state):
        wanted = f"the versions of {state.tenant} as they were shown"
        raise MoveRefusedError(wanted, "others: they were moved meanwhile", "read the page again, and decide again")
    offer = find_offer(workspace, state, move)
    match move:
        case "promote":
            manual.promote(workspace, state.tenant, offer.version, by)
            return f"Version {offer.version} is champion."
        case "rollback":
            to = None if state.challenger else offer.version
            left, champion = manual.roll_back(workspace, state.tenant, to, by)
            return f"Version {left} was rolled back; version {champion or 'none'} is champion."
        case _:
            manual.hold(workspace, state.tenant, move, by)
            done = {"pause": "paused", "resume": "resumed", "pin": "pinned", "unpin": "no longer pinned"}[move]
            subject = "The trial" if move in ("pause", "resume") else f"Version {offer.version}"
            return f"{subject} is {done}."


def _make_offer(move: OfferedMove, make: Callable[[], tuple[str, str]]) -> MoveOffer:
    try:
        version, sentence = make()
    except RegistryError as problem:
        return MoveOffer(move, "", str(problem))
    return MoveOffer(move, sentence, version=version)


def _describe_promotion(state: RolloutState, versions: list[Version]) -> tuple[str, str]:
    manual.refuse_pinned(state)
    version = manual.choose_version(versions, state.tenant, None).version
    if version == state.champion:
        wanted = f"a version of {state.tenant} to promote"
        raise RegistryError(
            wanted, f"version {version}, the champion already", "run `prefixfleet retrain` for a new one"
        )
    ends = ", and its trial ends" if version == state.challenger else ""
    replaced = f" in place of version {state.champion}" if state.champion else ""
    return version, f"Version {version} becomes champion{replaced} at once: it answers every request{ends}."


def _describe_rollback(workspace: Workspace, state: RolloutState, versions: list[Version]) -> tuple[str, str]:
    manual.refuse_pinned(state)
    if state.challenger:
        rest = f"version {state.champion} answers every request" if state.champion else "no version answers"
        return state.champion, (
            f"The trial of version {state.challenger} ends at once: {rest}. Retraining does not try version "
            f"{state.challenger} again until the tenant's data, parameters or base change."
        )
    if not state.champion:
        raise RegistryError(f"a champion of {state.tenant} to roll back from", "none", "promote a version first")
    former = manual.find_former_champion(workspace, versions, state).version
    return former, (
        f"Version {former}, the champion before, becomes champion again in place of version {state.champion}, at "
        f"once. Retraining does not promote version {state.champion} again until the tenant's data, parameters or base "
        "change."
    )


def _describe_pause(state: RolloutState) -> tuple[str, str]:
    if not state.challenger:
        raise RegistryError(f"a trial of {state.tenant} to pause", "none", "the next version that passes starts one")
    if state.paused_s:
        return state.challenger, (
            f"The trial of version {state.challenger} goes on at {state.share:.0%} of the requests; its deadline moves "
            "by the time of the pause."
        )
    return state.challenger, (
        f"Version {state.challenger} keeps answering {state.share:.0%} of the requests, and the trial does not "
        "advance. A check that calls it worse still rolls it back."
    )


def _describe_pin(state: RolloutState) -> tuple[str, str]:
    if not state.champion:
        raise RegistryError(f"a champion of {state.tenant} to pin", "none", "promote a version first")
    if state.pinned:
        return state.champion, f"New versions of {state.tenant} can be tried and promoted again."
    return state.champion, (
        f"Version {state.champion} stays champion: new versions are registered, and neither promoted nor tried, until "
        "it is unpinned."
    )
