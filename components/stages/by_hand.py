"""What a person does to a tenant's rollout: promote, roll back, pause, pin. MLflow is asked first: it is the truth."""

import getpass
import socket
import time
from dataclasses import replace
from typing import Literal

from components.errors import RegistryError
from components.registry.versions import CHALLENGER, CHAMPION, Version
from components.rollout import policy
from components.rollout.standings import Standing, standing
from components.stages.moves import PROMOTED, follow, make_champion, moved, record, restore, take_back
from components.stages.progress import tell
from components.stages.workspace import Workspace

Hold = Literal["pause", "resume", "pin", "unpin"]

_WHY = "by hand"
_TOLD = {
    "pause": "the trial is paused",
    "resume": "the trial goes on",
    "pin": "the champion is pinned",
    "unpin": "the champion is no longer pinned",
}


def person() -> str:
    """Who is at this command line, for the ledger."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in many containers
        name = "somebody"
    return f"{name}@{socket.gethostname()}"


def promote(workspace: Workspace, tenant: str, number: str | None = None, by: str | None = None) -> Version:
    """Make the named version, else the challenger, else the newest, champion.

    Raises:
        RegistryError: the tenant has no versions, or not this one; or its champion is pinned.

    """
    versions = workspace.registry.versions(tenant)
    before = _movable(workspace, tenant, versions)
    version = _chosen(versions, tenant, number)
    record(workspace, [make_champion(workspace, version, before, by or person(), _WHY)])
    return version


def rollback(workspace: Workspace, tenant: str, to: str | None = None, by: str | None = None) -> tuple[str, str]:
    """Undo the last move: end a trial, or else make the version champion that was it before; or the one named.

    Returns the version that was taken back, and the champion that answers now ("" where there is none).

    Raises:
        RegistryError: there is no champion, none before it, or it is pinned.

    """
    versions = workspace.registry.versions(tenant)
    before = _movable(workspace, tenant, versions)
    if before.challenger and to is None:
        take_back(workspace, _chosen(versions, tenant, before.challenger), before, by or person(), _WHY)
        return before.challenger, before.champion
    champion = _bearing(versions, CHAMPION)
    if champion is None:
        raise RegistryError(f"a champion of {tenant} to roll back from", "none", "see `prefixfleet status`")
    former = _chosen(versions, tenant, to) if to else _former(versions, champion)
    restore(workspace, former, before, by or person(), _WHY)
    return champion.version, former.version


def hold(workspace: Workspace, tenant: str, action: Hold, by: str | None = None) -> Standing:
    """Pause or resume a trial, pin or unpin a champion; what is so already stays so.

    A paused trial keeps its share and goes no further, but is still taken back when a check calls it worse. A pinned
    champion stays until it is unpinned: new versions are registered and wait.

    Raises:
        RegistryError: nobody is on trial; or there is no champion to pin.

    """
    versions = workspace.registry.versions(tenant)
    before = _known(workspace, tenant, versions)
    if action in ("pause", "resume") and not before.challenger:
        raise RegistryError(f"a trial of {tenant} to {action}", "none", f"see `prefixfleet history {tenant}`")
    if action == "pin" and not before.champion:
        raise RegistryError(f"a champion of {tenant} to pin", "none", f"make one: prefixfleet promote {tenant}")
    after = _held(before, action, time.time())
    if after != before:
        subject = after.challenger if action in ("pause", "resume") else after.champion
        record(workspace, [moved(after, action, by or person(), subject, subject, _WHY)])
    tell(f"{tenant}: {_TOLD[action]}")
    return after


def _held(before: Standing, action: Hold, now_s: float) -> Standing:
    match action:
        case "pause":
            return before if before.paused_s else replace(before, paused_s=now_s)
        case "resume":
            return policy.resumed(before, now_s) if before.paused_s else before
        case "pin" | "unpin":
            return replace(before, pinned=action == "pin")


def _chosen(versions: list[Version], tenant: str, number: str | None) -> Version:
    found = [version for version in versions if number is None or version.version == number]
    if not found:
        known = ", ".join(version.version for version in versions) or "none"
        wanted = f"version {number} of {tenant}" if number else f"a version of {tenant}"
        raise RegistryError(wanted, f"versions: {known}", "register one (`prefixfleet retrain`) or name one of these")
    return _bearing(found, CHALLENGER) or found[0]


def _former(versions: list[Version], champion: Version) -> Version:
    earlier = [version for version in versions if int(version.version) < int(champion.version)]
    former = [version for version in earlier if PROMOTED in version.tags]
    if not former:
        wanted = f"a champion of {champion.tenant} before version {champion.version}"
        raise RegistryError(wanted, "none", f"name a version: prefixfleet rollback {champion.tenant} --to N")
    return former[0]


def _movable(workspace: Workspace, tenant: str, versions: list[Version]) -> Standing:
    before = _known(workspace, tenant, versions)
    if before.pinned:
        got = f"version {before.champion} pinned by hand"
        raise RegistryError(f"a champion of {tenant} that may be moved", got, f"prefixfleet pin {tenant} --off")
    return before


def _known(workspace: Workspace, tenant: str, versions: list[Version]) -> Standing:
    """The standing with the versions that MLflow names today; what was moved there since is recorded first."""
    champion, challenger = _bearing(versions, CHAMPION), _bearing(versions, CHALLENGER)
    nothing, known = Standing(tenant=tenant), standing(workspace.database, tenant)
    if known == nothing:
        known = replace(nothing, champion=champion.version if champion else "")
    for _, after in follow(workspace, tenant, champion, challenger, known):
        known = after
    return known


def _bearing(versions: list[Version], alias: str) -> Version | None:
    return next((version for version in versions if alias in version.aliases), None)
