"""Decides on a trial: wait, advance to the next step, promote, or roll back. Pure: the time is an argument.

A step ends once its hours are over, the challenger has answered enough requests in it, and all checks in `proven` have
shown the challenger to be no worse. The trial is rolled back at once if a check calls the challenger worse, or if the
challenger fails most of its requests. Knows no registry and no clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from components.config.rollout import RolloutCheck, RolloutConfig
from components.rollout.types import Finding, RolloutState, ShareChange, StepAnswers

WAITING_FOR_PERSON = "waiting for `prefixfleet promote`"
"""In the reason of a decision to wait until someone promotes the version by hand."""

OfflineVerdict = Literal["accepted", "rejected", "unknown"]
"""The gate's verdict on the challenger, from a tag of its version; unknown: there is no such tag."""


@dataclass(frozen=True, slots=True)
class RolloutDecision:
    """What to do with a trial; `why` is a sentence for users."""

    action: Literal["wait", "advance", "promote", "rollback"]
    why: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far the current step of a trial is; all 0 for a trial by hand, which has no steps."""

    requests: int = 0
    """Answers of the challenger in this step."""
    min_requests: int = 0
    hours: float = 0.0
    """Since the step began."""
    min_hours: float = 0.0
    deadline_s: float = 0.0
    """When `rollout.deadline_hours` of the whole trial are over, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class _StepConditions:
    share: float
    hours: float
    min_requests: int
    proven: Sequence[RolloutCheck]


def begin_trial(config: RolloutConfig, state: RolloutState, challenger: str, now_s: float) -> RolloutState:
    """Return the state at the beginning of a trial of `challenger`."""
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
    """Return the state at the beginning of the trial's next step."""
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
    """Return the state without the pause; the deadline moves by the time that the trial was paused."""
    return replace(state, started_s=state.started_s + now_s - state.paused_s, paused_s=0.0)


def end_trial(state: RolloutState, champion: str) -> RolloutState:
    """Return the state without a trial, and with this champion."""
    return RolloutState(tenant=state.tenant, champion=champion, pinned=state.pinned)


def measure_progress(config: RolloutConfig, state: RolloutState, answered: int, now_s: float) -> StepProgress:
    """Return how far a trial's step is; `answered`: answers of the challenger in it."""
    if state.mode == "manual":
        return StepProgress(requests=answered)
    step = _read_step_conditions(config, state)
    return StepProgress(
        requests=answered,
        min_requests=step.min_requests,
        hours=(now_s - state.step_started_s) / 3600,
        min_hours=step.hours,
        deadline_s=state.started_s + config.deadline_hours * 3600,
    )


def decide_next_action(
    config: RolloutConfig,
    state: RolloutState,
    offline: OfflineVerdict,
    findings: Sequence[Finding],
    step_answers: StepAnswers,
    now_s: float,
) -> RolloutDecision:
    """Decide on a trial. `findings` are of the whole trial, `step_answers` of its current step."""
    figures = {"answered_in_step": asdict(step_answers), "checks": {one.check: one.to_dict() for one in findings}}
    if offline == "rejected":
        return RolloutDecision("rollback", "the gate rejected this version", figures)
    if _is_broken(config, step_answers):
        failed = f"{step_answers.challenger_failed} of {step_answers.challenger} requests"
        return RolloutDecision("rollback", f"broken: the challenger failed {failed} in this step", figures)
    if worse := [one for one in findings if one.says == "worse"]:
        return RolloutDecision("rollback", "; ".join(one.sentence for one in worse), figures)
    if state.pinned or state.paused_s:
        why = "the champion is pinned" if state.pinned else "the trial is paused"
        return RolloutDecision("wait", why, figures)
    if state.mode == "manual":
        return RolloutDecision("wait", f"{WAITING_FOR_PERSON}: the policy is manual", figures)
    step = _read_step_conditions(config, state)
    unmet = _list_unmet_conditions(step, state, findings, step_answers.challenger, now_s)
    if unmet:
        if now_s < state.started_s + config.deadline_hours * 3600 or config.at_deadline == "wait":
            return RolloutDecision("wait", f"waiting for {', '.join(unmet)}", figures)
        why = f"the deadline of {config.deadline_hours:g} hours is over; still missing: {', '.join(unmet)}"
        return (
            RolloutDecision("rollback", why, figures)
            if config.at_deadline == "rollback"
            else _decide_promotion(offline, why, figures)
        )
    if state.mode == "canary" and state.step + 1 < len(config.steps):
        share = config.steps[state.step + 1].share
        return RolloutDecision("advance", f"no check failed at {step.share:.0%}; advancing to {share:.0%}", figures)
    if state.mode == "shadow" and config.shadow.then == "wait":
        return RolloutDecision("wait", f"no check failed in the shadow; {WAITING_FOR_PERSON}", figures)
    hours = (now_s - state.started_s) / 3600
    return _decide_promotion(offline, f"no check failed in {hours:.1f} hours", figures)


def _is_broken(config: RolloutConfig, step_answers: StepAnswers) -> bool:
    """Whether the challenger fails most of its requests and the champion does not; no statistical test."""
    if config.broken_after is None or step_answers.challenger_failed < config.broken_after:
        return False
    challenger_fails = 2 * step_answers.challenger_failed > step_answers.challenger
    champion_fails = 2 * step_answers.champion_failed > step_answers.champion
    return challenger_fails and not champion_fails


def _read_step_conditions(config: RolloutConfig, state: RolloutState) -> _StepConditions:
    step = config.shadow if state.mode == "shadow" else config.steps[min(state.step, len(config.steps) - 1)]
    return _StepConditions(step.share, step.hours, step.min_requests, step.proven)


def _list_unmet_conditions(
    step: _StepConditions, state: RolloutState, findings: Sequence[Finding], answered: int, now_s: float
) -> list[str]:
    """Return what the step still needs, in words."""
    unmet = []
    over_s = state.step_started_s + step.hours * 3600
    if now_s < over_s:
        unmet.append(f"{(over_s - now_s) / 3600:.1f} more hours at {step.share:.0%}")
    if answered < step.min_requests:
        unmet.append(f"{step.min_requests - answered} more requests")
    fine = {one.check for one in findings if one.says == "fine"}
    unmet += [f"proof that {check} is no worse" for check in step.proven if check not in fine]
    return unmet


def _decide_promotion(offline: OfflineVerdict, why: str, figures: Mapping[str, Any]) -> RolloutDecision:
    if offline == "unknown":
        return RolloutDecision("wait", f"the version has no verdict of the gate; {WAITING_FOR_PERSON}", figures)
    return RolloutDecision("promote", why, figures)
