"""What becomes of a trial, step by step, under every policy."""

from dataclasses import replace

import pytest

from components.config.rollout import RolloutConfig, ShadowConfig, StepConfig
from components.rollout.policy.policy import advance_step, begin_trial, decide_next_action, end_trial, resume_trial
from components.rollout.types import Finding, RolloutState, StepAnswers

START_S = 1_000_000.0
STEPS = [
    StepConfig(share=0.05, hours=1.0, min_requests=20),
    StepConfig(share=0.25, hours=2.0, proven=["errors"]),
    StepConfig(share=1.0),
]
CANARY = RolloutConfig(policy="canary", steps=STEPS, deadline_hours=10.0)


def finding(says, check="errors"):
    return Finding(check, says, 100, 1, 50, 4, 1.5, 1.0, 1.0, 600.0)


def after(config, standing, hours, *, answered=1000, others=(), findings=(), offline="accepted"):
    return decide_next_action(
        config, standing, offline, findings, StepAnswers(answered, *others), START_S + hours * 3600
    )


@pytest.fixture
def trial():
    return begin_trial(CANARY, RolloutState(tenant="acme", champion="1"), "2", START_S)


def test_a_canary_goes_step_by_step(trial):
    assert (trial.mode, trial.share, trial.changes) == ("canary", 0.05, ((int(START_S), 0.05),))
    early = after(CANARY, trial, 0.5)
    assert (early.action, early.why) == ("wait", "waiting for 0.5 more hours at 5%")
    quiet = after(CANARY, trial, 1.0, answered=3)
    assert (quiet.action, quiet.why) == ("wait", "waiting for 17 more requests")
    assert after(CANARY, trial, 1.0).action == "advance"

    second = advance_step(CANARY, trial, START_S + 3600)
    assert (second.step, second.share, second.changes[1:]) == (1, 0.25, ((int(START_S) + 3600, 0.25),))
    assert after(CANARY, second, 4.0, findings=[finding("unclear")]).why == "waiting for proof that errors is no worse"
    assert after(CANARY, second, 4.0, findings=[finding("fine")]).action == "advance"

    last = advance_step(CANARY, second, START_S + 4 * 3600)
    assert last.share == 1.0
    done = after(CANARY, last, 4.0)
    assert (done.action, done.why) == ("promote", "no check failed in 4.0 hours")
    assert end_trial(last, "2") == RolloutState(tenant="acme", champion="2")


def test_worse_ends_it_at_once_whatever_else_holds(trial):
    move = after(
        CANARY, replace(trial, paused_s=START_S + 60), 0.1, findings=[finding("fine"), finding("worse", "empty")]
    )
    assert move.action == "rollback"
    assert move.why == "empty: challenger 4 bad of 50, champion 1 bad of 100 (worse; odds ratio margin 1.5)"
    assert move.figures["checks"]["empty"]["challenger_bad"] == 4
    assert after(CANARY, trial, 0.1, offline="rejected").action == "rollback"


@pytest.mark.parametrize(
    ("at_deadline", "action"), [("rollback", "rollback"), ("promote", "promote"), ("wait", "wait")]
)
def test_too_little_traffic_waits_until_the_deadline(trial, at_deadline, action):
    config = CANARY.model_copy(update={"at_deadline": at_deadline})
    assert after(config, trial, 9.9, answered=0).action == "wait"
    assert after(config, trial, 10.0, answered=0).action == action


def test_a_person_can_hold_it(trial):
    assert after(CANARY, replace(trial, paused_s=START_S + 60), 99.0).why == "the trial is paused"
    again = resume_trial(replace(trial, paused_s=START_S + 3600), START_S + 90 * 3600)
    assert after(CANARY, again, 98.9, answered=0).action == "wait"
    assert after(CANARY, again, 99.0, answered=0).action == "rollback"
    assert after(CANARY, replace(trial, pinned=True), 99.0).why == "the champion is pinned"


def test_without_a_verdict_nothing_is_promoted_by_itself(trial):
    last = replace(trial, step=2, share=1.0)
    assert after(CANARY, last, 4.0, offline="unknown").action == "wait"
    late = CANARY.model_copy(update={"at_deadline": "promote"})
    assert after(late, trial, 99.0, answered=0, offline="unknown").action == "wait"


def test_a_shadow_is_promoted_or_left_to_a_person():
    for then, action in (("promote", "promote"), ("wait", "wait")):
        config = RolloutConfig(policy="shadow", shadow=ShadowConfig(hours=2.0, min_requests=10, then=then))
        trial = begin_trial(config, RolloutState(tenant="acme", champion="1"), "2", START_S)
        assert (trial.mode, trial.share) == ("shadow", 1.0)
        assert after(config, trial, 2.0, answered=9).action == "wait"
        assert after(config, trial, 2.0, answered=10).action == action


@pytest.mark.parametrize("policy", ["manual", "immediate"])
def test_a_challenger_that_only_a_person_can_judge_meets_nobody(policy):
    """Under `immediate` a challenger comes from a person's hand in MLflow alone."""
    config = RolloutConfig(policy=policy)
    trial = begin_trial(config, RolloutState(tenant="acme", champion="1"), "2", START_S)
    assert (trial.mode, trial.share) == ("manual", 0.0)
    assert after(config, trial, 999.0).action == "wait"


def test_steps_taken_out_of_params_leave_a_running_trial_whole(trial):
    shorter = CANARY.model_copy(update={"steps": STEPS[:1]})
    assert after(shorter, replace(trial, step=1, share=0.25), 5.0).action == "promote"


@pytest.mark.parametrize(
    ("answered", "others", "action"),
    [
        (19, (19, 400, 0), "wait"),  # too few to say
        (20, (20, 400, 0), "rollback"),
        (20, (20, 0, 0), "rollback"),  # at a share of 100 % nobody is left with the champion
        (50, (50, 400, 201), "wait"),  # an outage
        (100, (50, 400, 0), "wait"),  # half of them are well
    ],
)
def test_a_challenger_that_fails_most_of_its_answers_is_taken_back_whoever_asked(trial, answered, others, action):
    move = after(CANARY, trial, 0.1, answered=answered, others=others)
    assert move.action == action
    if action == "rollback":
        assert move.why == "broken: the challenger failed 20 of 20 requests in this step"
        without = CANARY.model_copy(update={"broken_after": None})
        assert after(without, trial, 0.1, answered=answered, others=others).action == "wait"
