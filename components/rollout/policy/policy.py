"""What becomes of a trial now: wait, go on to the next step, promote, or roll back. Pure: the time is handed in.

A step holds until its hours are over, the challenger has answered enough in it, and what it wants proven is proven.
A check that calls the challenger worse ends the trial at once, and so does a challenger that fails most of its answers.
Knows no registry and no clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from components.config.rollout import Check, RolloutConfig
from components.rollout.types import Answered, Change, Finding, Standing

Offline = Literal["accepted", "rejected", "unknown"]
"""The gate's verdict on the challenger, as its version bears it."""


@dataclass(frozen=True, slots=True)
class Move:
    """What to do, and why in a sentence."""

    action: Literal["wait", "advance", "promote", "rollback"]
    why: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Step:
    share: float
    hours: float
    min_requests: int
    proven: Sequence[Check]


def begin(config: RolloutConfig, standing: Standing, challenger: str, now_s: float) -> Standing:
    """A trial of `challenger` from its first step on."""
    mode = "manual" if config.policy == "immediate" else config.policy
    share = {"canary": config.steps[0].share, "shadow": config.shadow.share, "manual": 0.0}[mode]
    return replace(
        standing,
        challenger=challenger,
        mode=mode,
        step=0,
        share=share,
        started_s=now_s,
        step_started_s=now_s,
        changes=(Change(int(now_s), share),),
        paused_s=0.0,
    )


def advanced(config: RolloutConfig, standing: Standing, now_s: float) -> Standing:
    """The trial in its next step."""
    step = standing.step + 1
    share = config.steps[step].share
    return replace(
        standing,
        step=step,
        share=share,
        step_started_s=now_s,
        changes=(*standing.changes, Change(int(now_s), share)),
    )


def resumed(standing: Standing, now_s: float) -> Standing:
    """The trial goes on; its deadline is later by the time that it was paused."""
    return replace(standing, started_s=standing.started_s + now_s - standing.paused_s, paused_s=0.0)


def ended(standing: Standing, champion: str) -> Standing:
    """No trial."""
    return Standing(tenant=standing.tenant, champion=champion, pinned=standing.pinned)


def next_move(
    config: RolloutConfig,
    standing: Standing,
    offline: Offline,
    findings: Sequence[Finding],
    answered: Answered,
    now_s: float,
) -> Move:
    """What to do with a trial."""
    figures = {"answered_in_step": asdict(answered), "checks": {one.check: one.figures() for one in findings}}
    if offline == "rejected":
        return Move("rollback", "the gate has rejected it", figures)
    if _is_broken(config, answered):
        why = f"broken: it failed {answered.challenger_failed} of {answered.challenger} answers in this step"
        return Move("rollback", why, figures)
    if worse := [one for one in findings if one.says == "worse"]:
        return Move("rollback", "; ".join(one.sentence for one in worse), figures)
    if standing.pinned or standing.paused_s:
        return Move("wait", f"{'pinned' if standing.pinned else 'paused'} by hand", figures)
    if standing.mode == "manual":
        return Move("wait", "it waits for a person: the policy is manual", figures)
    step = _step(config, standing)
    lacking = _lacking(step, standing, findings, answered.challenger, now_s)
    if lacking:
        if now_s < standing.started_s + config.deadline_hours * 3600 or config.at_deadline == "wait":
            return Move("wait", f"waits for {', '.join(lacking)}", figures)
        why = f"past the deadline of {config.deadline_hours:g} hours, still without {', '.join(lacking)}"
        return Move("rollback", why, figures) if config.at_deadline == "rollback" else _promoted(offline, why, figures)
    if standing.mode == "canary" and standing.step + 1 < len(config.steps):
        share = config.steps[standing.step + 1].share
        return Move("advance", f"nothing against it at {step.share:.0%}; on to {share:.0%}", figures)
    if standing.mode == "shadow" and config.shadow.then == "wait":
        return Move("wait", "nothing against it in the shadow; it waits for a person", figures)
    hours = (now_s - standing.started_s) / 3600
    return _promoted(offline, f"nothing against it after {hours:.1f} hours", figures)


def _is_broken(config: RolloutConfig, answered: Answered) -> bool:
    """Whether it fails most answers while the champion does not: no test, and whoever asked."""
    if config.broken_after is None or answered.challenger_failed < config.broken_after:
        return False
    ours, theirs = 2 * answered.challenger_failed, 2 * answered.champion_failed
    return ours > answered.challenger and theirs <= answered.champion


def _step(config: RolloutConfig, standing: Standing) -> _Step:
    found = config.shadow if standing.mode == "shadow" else config.steps[min(standing.step, len(config.steps) - 1)]
    return _Step(found.share, found.hours, found.min_requests, found.proven)


def _lacking(step: _Step, standing: Standing, findings: Sequence[Finding], answered: int, now_s: float) -> list[str]:
    """What the step still wants."""
    lacking = []
    over_s = standing.step_started_s + step.hours * 3600
    if now_s < over_s:
        lacking.append(f"{(over_s - now_s) / 3600:.1f} more hours at {step.share:.0%}")
    if answered < step.min_requests:
        lacking.append(f"{step.min_requests - answered} more requests")
    fine = {one.check for one in findings if one.says == "fine"}
    lacking += [f"proof that {check} is no worse" for check in step.proven if check not in fine]
    return lacking


def _promoted(offline: Offline, why: str, figures: Mapping[str, Any]) -> Move:
    if offline == "unknown":
        return Move("wait", "no verdict of the gate stands on it: a person must promote it", figures)
    return Move("promote", why, figures)


def _minute(now_s: float) -> int:
    return int(now_s // 60)
