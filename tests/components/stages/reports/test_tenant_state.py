"""The state of a tenant: the first of STATES whose condition holds, and what else is noted."""

import pytest

from components.rollout.policy.policy import StepProgress
from components.rollout.types import LedgerEntry
from components.stages.last_failures import LastFailure
from components.stages.reports.tenant_state import STATES, TenantFacts, VerdictFacts, choose_state, list_notes
from components.stages.rollout.trial_progress import TrialProgress

REJECTED = VerdictFacts(False, "Rejected: 1 of 1 checks failed. BLEU 3 is below its floor of 40.", True, ())
TRIAL = TrialProgress(
    version="2",
    mode="canary",
    share=0.05,
    step=1,
    steps=3,
    progress=StepProgress(4, 20, 0.5, 1.0, 1e9),
    paused=False,
    waits_for="waiting for 16 more requests",
)
ROLLBACK = LedgerEntry(tenant="t", by="ada", action="rollback", from_version="2", to_version="1", why="worse")
CAUSES = {
    "broken": {"champion_problem": "no version of PrefixFleet"},
    "foreign": {"foreign_owner": "another workspace"},
    "failed": {"failure": LastFailure("train", "a loss that is not finite", "2026-01-01T00:00:00+00:00")},
    "refused": {"verdict": REJECTED},
    "on-trial": {"trial": TRIAL},
    "pinned": {"pinned": True},
    "stale": {"training_reason": "data changed"},
}


def choose(**facts):
    return choose_state(TenantFacts(tenant="t", **{"champion": "1", **facts}))


@pytest.mark.parametrize("state", CAUSES)
def test_a_cause_gives_its_state_also_with_all_later_causes(state):
    names = list(CAUSES)
    assert choose(**CAUSES[state])[0] == state
    later = [CAUSES[name] for name in names[names.index(state) :]]
    assert choose(**{key: value for cause in later for key, value in cause.items()})[0] == state
    assert [name for name in STATES if name in CAUSES] == names


def test_a_champion_of_the_present_prefix_is_healthy_and_no_champion_is_new():
    assert choose(is_present_prefix=True) == ("healthy", "")
    assert choose(champion="", training_reason="no prefix yet") == (
        "new",
        "no prefix yet: the next `prefixfleet retrain` trains",
    )


def test_a_refusal_of_an_earlier_prefix_or_under_other_settings_is_said():
    earlier = VerdictFacts(False, "Rejected.", False, ())
    facts = TenantFacts(tenant="t", champion="1", verdict=earlier, training_reason="data changed")
    assert choose_state(facts)[0] == "stale"
    assert list_notes(facts, "stale") == ["an earlier prefix was refused: Rejected."]
    other = VerdictFacts(False, "Rejected.", True, ("gate.floors",))
    state, reason = choose(verdict=other)
    assert state == "refused"
    assert reason == (
        "Rejected. This verdict is of other settings than now (gate.floors): "
        "the next `prefixfleet retrain` gates again."
    )


def test_a_version_that_was_replaced_by_an_older_one_is_rolled_back_unless_the_next_run_trains():
    facts = {"last_move": ROLLBACK, "is_registered": True}
    assert choose(**facts) == ("rolled-back", "version 2 -> 1 by ada: worse")
    assert choose(**facts, training_reason="data changed")[0] == "stale"
    assert choose(**{**facts, "is_registered": False})[0] == "stale"
    promoted = LedgerEntry(tenant="t", by="ada", action="promote", from_version="1", to_version="2", why="by hand")
    assert choose(last_move=promoted, is_registered=True)[0] == "stale"
    moved = choose(last_move=promoted, is_registered=True, alias_drift=("champion 2 -> 1",))
    assert moved == ("rolled-back", "the newest version lost its alias in MLflow")


def test_what_does_not_decide_the_state_is_noted():
    facts = TenantFacts(
        tenant="t",
        champion="1",
        champion_problem="gone",
        trial=TRIAL,
        pinned=True,
        training_reason="data changed",
        challenger_problem="it has no tag sha256",
        alias_drift=("champion 2 -> 1",),
    )
    assert list_notes(facts, "broken") == [
        "champion 2 -> 1, moved in MLflow: the next rollout cycle records it",
        "on trial: version 2, canary step 1 of 3 at 5%: 4 of 20 requests, 0.5 of 1 hours, "
        "deadline 2001-09-09T01:46+00:00; waiting for 16 more requests",
        "the challenger cannot answer: it has no tag sha256",
        "version 1 is pinned",
        "the next run trains: data changed",
    ]


def test_overlaps_between_splits_are_noted():
    facts = TenantFacts(tenant="t", champion="1", is_present_prefix=True, overlaps="8.0% of the test examples")
    assert list_notes(facts, "healthy") == ["8.0% of the test examples"]
