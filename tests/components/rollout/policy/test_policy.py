"""Decisions on a trial, step by step, under every policy."""

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


def decide(config, state, hours, *, answered=1000, others=(), findings=(), offline="accepted"):
    return decide_next_action(config, state, offline, findings, StepAnswers(answered, *others), START_S + hours * 3600)


@pytest.fixture
def trial():
    return begin_trial(CANARY, RolloutState(tenant="acme", champion="1"), "2", START_S)


def test_a_canary_advances_step_by_step(trial):
    assert (trial.mode, trial.share, trial.changes) == ("canary", 0.05, ((int(START_S), 0.05),))
    early = decide(CANARY, trial, 0.5)
    assert (early.action, early.why) == ("wait", "waiting for 0.5 more hours at 5%")
    quiet = decide(CANARY, trial, 1.0, answered=3)
    assert (quiet.action, quiet.why) == ("wait", "waiting for 17 more requests")
    assert decide(CANARY, trial, 1.0).action == "advance"

    second = advance_step(CANARY, trial, START_S + 3600)
    assert (second.step, second.share, second.changes[1:]) == (1, 0.25, ((int(START_S) + 3600, 0.25),))
    assert decide(CANARY, second, 4.0, findings=[finding("unclear")]).why == "waiting for proof that errors is no worse"
    assert decide(CANARY, second, 4.0, findings=[finding("fine")]).action == "advance"

    last = advance_step(CANARY, second, START_S + 4 * 3600)
    assert last.share == 1.0
    done = decide(CANARY, last, 4.0)
    assert (done.action, done.why) == ("promote", "no check failed in 4.0 hours")
    assert end_trial(last, "2") == RolloutState(tenant="acme", champion="2")


def test_a_worse_or_rejected_challenger_is_rolled_back_at_once_even_while_paused(trial):
    move = decide(
        CANARY, replace(trial, paused_s=START_S + 60), 0.1, findings=[finding("fine"), finding("worse", "empty")]
    )
    assert move.action == "rollback"
    assert move.why == "empty: challenger 4 bad of 50, champion 1 bad of 100 (worse; odds ratio margin 1.5)"
    assert move.figures["checks"]["empty"]["challenger_bad"] == 4
    assert decide(CANARY, trial, 0.1, offline="rejected").action == "rollback"


@pytest.mark.parametrize(
    ("at_deadline", "action"), [("rollback", "rollback"), ("promote", "promote"), ("wait", "wait")]
)
def test_a_trial_with_too_little_traffic_waits_until_its_deadline(trial, at_deadline, action):
    config = CANARY.model_copy(update={"at_deadline": at_deadline})
    assert decide(config, trial, 9.9, answered=0).action == "wait"
    assert decide(config, trial, 10.0, answered=0).action == action


def test_a_paused_or_pinned_trial_waits_and_a_pause_moves_the_deadline(trial):
    assert decide(CANARY, replace(trial, paused_s=START_S + 60), 99.0).why == "the trial is paused"
    again = resume_trial(replace(trial, paused_s=START_S + 3600), START_S + 90 * 3600)
    assert decide(CANARY, again, 98.9, answered=0).action == "wait"
    assert decide(CANARY, again, 99.0, answered=0).action == "rollback"
    assert decide(CANARY, replace(trial, pinned=True), 99.0).why == "the champion is pinned"


def test_a_version_without_a_verdict_is_never_promoted_automatically(trial):
    last = replace(trial, step=2, share=1.0)
    assert decide(CANARY, last, 4.0, offline="unknown").action == "wait"
    late = CANARY.model_copy(update={"at_deadline": "promote"})
    assert decide(late, trial, 99.0, answered=0, offline="unknown").action == "wait"


def test_a_shadow_is_promoted_or_waits_for_a_manual_promotion():
    for then, action in (("promote", "promote"), ("wait", "wait")):
        config = RolloutConfig(policy="shadow", shadow=ShadowConfig(hours=2.0, min_requests=10, then=then))
        trial = begin_trial(config, RolloutState(tenant="acme", champion="1"), "2", START_S)
        assert (trial.mode, trial.share) == ("shadow", 1.0)
        assert decide(config, trial, 2.0, answered=9).action == "wait"
        assert decide(config, trial, 2.0, answered=10).action == action


@pytest.mark.parametrize("policy", ["manual", "immediate"])
def test_a_challenger_under_a_policy_without_trials_gets_no_traffic(policy):
    """Under `immediate` a challenger exists only if a user sets the alias in MLflow."""
    config = RolloutConfig(policy=policy)
    trial = begin_trial(config, RolloutState(tenant="acme", champion="1"), "2", START_S)
    assert (trial.mode, trial.share) == ("manual", 0.0)
    assert decide(config, trial, 999.0).action == "wait"


def test_a_running_trial_survives_the_removal_of_its_step_from_params(trial):
    shorter = CANARY.model_copy(update={"steps": STEPS[:1]})
    assert decide(shorter, replace(trial, step=1, share=0.25), 5.0).action == "promote"


@pytest.mark.parametrize(
    ("answered", "others", "action"),
    [
        (19, (19, 400, 0), "wait"),  # fewer than broken_after
        (20, (20, 400, 0), "rollback"),
        (20, (20, 0, 0), "rollback"),  # at a share of 100 % the champion answers no request
        (50, (50, 400, 201), "wait"),  # an outage of both arms
        (100, (50, 400, 0), "wait"),  # half of its requests succeed
    ],
)
def test_a_challenger_that_fails_most_of_its_requests_is_rolled_back(trial, answered, others, action):
    move = decide(CANARY, trial, 0.1, answered=answered, others=others)
    assert move.action == action
    if action == "rollback":
        assert move.why == "broken: the challenger failed 20 of 20 requests in this step"
        unlimited = CANARY.model_copy(update={"broken_after": None})
        assert decide(unlimited, trial, 0.1, answered=answered, others=others).action == "wait"
