"""One cycle of the rollout over the whole fleet: notice, then advance, promote or take back; each tenant by itself.

MLflow is asked once for all aliases. Further calls are made only for tenants that something happens to, each in its
turn, in which it is looked at again. Knows the order; what decides stands in components/rollout.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from components.config.rollout import RolloutConfig
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.policy.alias_drift import noticed
from components.rollout.policy.policy import Move, Offline, next_move
from components.rollout.store.observations import prune
from components.rollout.store.tenant_state import adopt, standings
from components.rollout.types import Standing
from components.stages.outcome import Outcome, apart
from components.stages.rollout import transitions, trial_reviews
from components.stages.rollout.tenant_lock import turn
from components.stages.rollout.transitions import News, Turn
from components.stages.rollout.trial_reviews import Case
from components.stages.workspace import Workspace
from components.storage.atomic_files import alone

_WRITTEN_MINUTES = 1
"""After which servers have written down what they saw in a minute."""
_KEPT_MINUTES = 90 * 24 * 60
_BY = "rollout"
_STAGE = "roll out"


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a cycle did with one tenant."""

    tenant: str
    action: Literal["noticed", "finished", "wait", "advance", "promote", "rollback"]
    champion: str
    challenger: str
    why: str


@dataclass(frozen=True, slots=True)
class _Fleet:
    champions: Mapping[str, Version]
    challengers: Mapping[str, Version]
    known: Mapping[str, Standing]

    def odd(self) -> list[str]:
        """The tenants whose aliases are not as they were left."""
        return [tenant for tenant in sorted({*self.champions, *self.challengers, *self.known}) if self._is_odd(tenant)]

    def _is_odd(self, tenant: str) -> bool:
        champion, challenger = (_number(versions.get(tenant)) for versions in (self.champions, self.challengers))
        return bool(noticed(self.known.get(tenant), champion, challenger))


def cycle(workspace: Workspace, *, now_s: Callable[[], float] = time.time) -> tuple[list[Rolled], list[Outcome]]:
    """Look at the whole fleet once; returns what was done, and whose trouble is whose.

    Raises:
        RegistryError: MLflow does not answer.
        WorkspaceError: the rollout's database does not answer, or another cycle runs on this machine.

    """
    with between_cycles(workspace):
        fleet = _look(workspace)
        odd = fleet.odd()
        unknown = fleet.champions.keys() - fleet.known.keys() - set(odd)
        adopt(workspace.database, [Standing(tenant=one, champion=fleet.champions[one].version) for one in unknown])
        rolled: list[Rolled] = []
        troubles: list[Outcome] = []
        known = dict(fleet.known)
        for tenant in odd:
            with apart(tenant, _STAGE, troubles), turn(workspace, tenant) as now:
                known[tenant] = now.standing
                rolled += [_told(news) for news in now.news]
        trials: list[tuple[Standing, RolloutConfig]] = []
        for standing in known.values():
            if _is_on_trial(standing, fleet):  # of others the next cycle knows more
                with apart(standing.tenant, _STAGE, troubles):
                    trials.append((standing, transitions.config_of(workspace, standing.tenant)))
        until = int(now_s() // 60) - _WRITTEN_MINUTES
        for case in trial_reviews.cases(workspace.database, trials, until):
            tenant = case.standing.tenant
            with apart(tenant, _STAGE, troubles):
                rolled.append(_roll(workspace, fleet.challengers[tenant], case, until, now_s()))
        prune(workspace.database, int(now_s() // 60) - _KEPT_MINUTES)
        return rolled, troubles


@contextmanager
def between_cycles(workspace: Workspace, *, wait_s: float = 0.0) -> Iterator[None]:
    """Let no cycle run on this machine meanwhile. Raises WorkspaceError where one does for longer than `wait_s`."""
    lock = workspace.root / "var" / "rollout.lock"
    with alone(lock, workspace.root, "wait until that cycle ends", wait_s=wait_s):
        yield


def sentence(rolled: list[Rolled], troubles: list[Outcome]) -> str:
    """A cycle in one line."""
    names = {
        "noticed": "moved in MLflow",
        "finished": "finished after a stop",
        "wait": "waiting",
        "advance": "advanced",
        "promote": "promoted",
        "rollback": "rolled back",
    }
    counts = {told: sum(one.action == action for one in rolled) for action, told in names.items()}
    parts = [f"{count} {told}" for told, count in counts.items() if count]
    parts += [f"{len(troubles)} failed ({', '.join(one.tenant for one in troubles)})"] if troubles else []
    return ", ".join(parts) or "nobody on trial"


def _look(workspace: Workspace) -> _Fleet:
    aliases = workspace.registry.standing(CHAMPION, CHALLENGER)
    return _Fleet(aliases[CHAMPION], aliases[CHALLENGER], standings(workspace.database))


def _told(news: News) -> Rolled:
    return Rolled(news.after.tenant, news.kind, news.after.champion, news.after.challenger, news.why)


def _roll(workspace: Workspace, challenger: Version, case: Case, until: int, now_s: float) -> Rolled:
    move = _decide(challenger, case, now_s)
    if move.action != "wait" and case.growth:
        (case,) = trial_reviews.look(workspace.database, [case], until)
        move = _decide(challenger, case, now_s)
    after = before = case.standing
    if move.action != "wait":
        with turn(workspace, before.tenant) as now:
            if now.standing == before:
                after = _make(now, move, now_s)
            else:
                move, after = Move("wait", "somebody moved it a moment ago"), now.standing
    return Rolled(before.tenant, move.action, after.champion, challenger.version, move.why)


def _make(now: Turn, move: Move, now_s: float) -> Standing:
    match move.action:
        case "advance":
            return transitions.advance(now, move.why, move.figures, now_s)
        case "promote":
            return transitions.make_champion(now, now.standing.challenger, _BY, move.why, move.figures)
        case "rollback":
            return transitions.take_back(now, _BY, move.why, move.figures)
        case "wait":
            return now.standing


def _decide(challenger: Version, case: Case, now_s: float) -> Move:
    total = case.total
    move = next_move(case.config, case.standing, _offline(challenger), case.findings, total.answered, now_s)
    if case.standing.mode != "shadow":
        return move
    return replace(move, figures={**move.figures, "agreed": total.agreed, "shadowed": total.shadowed})


def _is_on_trial(standing: Standing, fleet: _Fleet) -> bool:
    return standing.challenger != "" and standing.challenger == _number(fleet.challengers.get(standing.tenant))


def _offline(version: Version) -> Offline:
    verdict = version.tags.get("verdict")
    return "accepted" if verdict == "accepted" else "rejected" if verdict == "rejected" else "unknown"


def _number(version: Version | None) -> str:
    return version.version if version else ""
