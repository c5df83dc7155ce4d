"""What becomes of a trial now: wait, go on to the next step, promote, or roll back. Pure: the time is handed in.

A step holds until its hours are over, the challenger has answered enough in it, and what it wants proven is proven.
A check that calls the challenger worse ends the trial at once, and so does a challenger that fails most of its answers.
Knows no registry and no clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from components.config.rollout import RolloutCheck, RolloutConfig
from components.rollout.types import Finding, RolloutState, ShareChange, StepAnswers

OfflineVerdict = Literal["accepted", "rejected", "unknown"]
"""The gate's verdict on the challenger, as its version bears it."""


@dataclass(frozen=True, slots=True)
class RolloutDecision:
    """What to do, and why in a sentence."""

    action: Literal["wait", "advance", "promote", "rollback"]
    why: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _StepConditions:
    share: float
    hours: float
    min_requests: int
    proven: Sequence[RolloutCheck]


def begin_trial(config: RolloutConfig, state: RolloutState, challenger: str, now_s: float) -> RolloutState:
    """A trial of `challenger` from its first step on."""
    mode = "manual" if config.policy == "immediate" else config.policy
    share = {"canary": config.steps[0].share, "shadow": config.shadow.share, "manual": 0.0}[mode]
    return replace(
        state,
        challenger=challenger,
        mode=mode,
        step=0,
        share=share,
        started_s=now_s,
        step_started_s=now_s,
        changes=(ShareChange(int(now_s), share),),
        paused_s=0.0,
    )


def advance_step(config: RolloutConfig, state: RolloutState, now_s: float) -> RolloutState:
    """The trial in its next step."""
    step = state.step + 1
    share = config.steps[step].share
    return replace(
        state,
        step=step,
        share=share,
        step_started_s=now_s,
        changes=(*state.changes, ShareChange(int(now_s), share)),
    )


def resume_trial(state: RolloutState, now_s: float) -> RolloutState:
    """The trial goes on; its deadline is later by the time that it was paused."""
    return replace(state, started_s=state.started_s + now_s - state.paused_s, paused_s=0.0)


def end_trial(state: RolloutState, champion: str) -> RolloutState:
    """No trial."""
    return RolloutState(tenant=state.tenant, champion=champion, pinned=state.pinned)


def decide_next_action(
    config: RolloutConfig,
    state: RolloutState,
    offline: OfflineVerdict,
    findings: Sequence[Finding],
    step_answers: StepAnswers,
    now_s: float,
) -> RolloutDecision:
    """What to do with a trial."""
    figures = {"answered_in_step": asdict(step_answers), "checks": {one.check: one.to_dict() for one in findings}}
    if offline == "rejected":
        return RolloutDecision("rollback", "the gate has rejected it", figures)
    if _is_broken(config, step_answers):
        why = f"broken: it failed {step_answers.challenger_failed} of {step_answers.challenger} answers in this step"
        return RolloutDecision("rollback", why, figures)
    if worse := [one for one in findings if one.says == "worse"]:
        return RolloutDecision("rollback", "; ".join(one.sentence for one in worse), figures)
    if state.pinned or state.paused_s:
        return RolloutDecision("wait", f"{'pinned' if state.pinned else 'paused'} by hand", figures)
    if state.mode == "manual":
        return RolloutDecision("wait", "it waits for a person: the policy is manual", figures)
    step = _read_step_conditions(config, state)
    lacking = _list_unmet_conditions(step, state, findings, step_answers.challenger, now_s)
    if lacking:
        if now_s < state.started_s + config.deadline_hours * 3600 or config.at_deadline == "wait":
            return RolloutDecision("wait", f"waits for {', '.join(lacking)}", figures)
        why = f"past the deadline of {config.deadline_hours:g} hours, still without {', '.join(lacking)}"
        return (
            RolloutDecision("rollback", why, figures)
            if config.at_deadline == "rollback"
            else _decide_promotion(offline, why, figures)
        )
    if state.mode == "canary" and state.step + 1 < len(config.steps):
        share = config.steps[state.step + 1].share
        return RolloutDecision("advance", f"nothing against it at {step.share:.0%}; on to {share:.0%}", figures)
    if state.mode == "shadow" and config.shadow.then == "wait":
        return RolloutDecision("wait", "nothing against it in the shadow; it waits for a person", figures)
    hours = (now_s - state.started_s) / 3600
    return _decide_promotion(offline, f"nothing against it after {hours:.1f} hours", figures)


def _is_broken(config: RolloutConfig, step_answers: StepAnswers) -> bool:
    """Whether it fails most answers while the champion does not: no test, and whoever asked."""
    if config.broken_after is None or step_answers.challenger_failed < config.broken_after:
        return False
    ours, theirs = 2 * step_answers.challenger_failed, 2 * step_answers.champion_failed
    return ours > step_answers.challenger and theirs <= step_answers.champion


def _read_step_conditions(config: RolloutConfig, state: RolloutState) -> _StepConditions:
    found = config.shadow if state.mode == "shadow" else config.steps[min(state.step, len(config.steps) - 1)]
    return _StepConditions(found.share, found.hours, found.min_requests, found.proven)


def _list_unmet_conditions(
    step: _StepConditions, state: RolloutState, findings: Sequence[Finding], answered: int, now_s: float
) -> list[str]:
    """What the step still wants."""
    lacking = []
    over_s = state.step_started_s + step.hours * 3600
    if now_s < over_s:
        lacking.append(f"{(over_s - now_s) / 3600:.1f} more hours at {step.share:.0%}")
    if answered < step.min_requests:
        lacking.append(f"{step.min_requests - answered} more requests")
    fine = {one.check for one in findings if one.says == "fine"}
    lacking += [f"proof that {check} is no worse" for check in step.proven if check not in fine]
    return lacking


def _decide_promotion(offline: OfflineVerdict, why: str, figures: Mapping[str, Any]) -> RolloutDecision:
    if offline == "unknown":
        return RolloutDecision("wait", "no verdict of the gate stands on it: a person must promote it", figures)
    return RolloutDecision("promote", why, figures)


def _minute(now_s: float) -> int:
    return int(now_s // 60)
