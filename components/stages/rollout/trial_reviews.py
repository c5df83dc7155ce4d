"""Judges trials by their evidence, and each again only once it has grown, so that a cycle's work stays bounded.

A stratum of the tests stays open until it has 2 % of all answers, so judging after less than 1 % of growth would change
little. The trials that have grown most come first; those that one cycle has no time for come in the next. Knows no
move.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from components.config.rollout import RolloutConfig
from components.registry.mlflow.versions import Version
from components.rollout.policy.checks import run_checks
from components.rollout.policy.policy import OfflineVerdict
from components.rollout.store.findings_cache import TrialFindings, make_trial_key, read_findings, save_findings
from components.rollout.store.trial_totals import TrialTotals, read_evidence, read_totals
from components.rollout.types import Finding, RolloutState
from components.storage.database import Database

_WRITE_DELAY_MINUTES = 1
"""Servers have saved the observations of a minute this long after it."""
_MIN_GROWTH = 0.01
_TRIALS_IN_MEMORY = 20
"""Trials that are judged together, with all their evidence in memory."""
_REVIEW_SECONDS = 10.0
"""Time after which a cycle judges no more trials."""


@dataclass(frozen=True, slots=True)
class TrialReview:
    """A trial, its totals now, and the findings of its last judgement."""

    state: RolloutState
    config: RolloutConfig
    totals: TrialTotals
    last_findings: TrialFindings | None
    """None: never judged."""

    @property
    def findings(self) -> Sequence[Finding]:
        """The findings of the last judgement."""
        return self.last_findings.findings if self.last_findings else ()

    @property
    def growth(self) -> float:
        """Answers and opinions since the last judgement, divided by those before it."""
        if self.last_findings is None:
            return float("inf")
        return (self.totals.seen - self.last_findings.seen) / max(self.last_findings.seen, 1)


def find_last_minute(now_s: float) -> int:
    """Return the minute since 1970 before which all observations are saved."""
    return int(now_s // 60) - _WRITE_DELAY_MINUTES


def review_trials(
    database: Database,
    trials: Iterable[tuple[RolloutState, RolloutConfig]],
    until_minute: int,
    clock: Callable[[], float] = time.monotonic,
) -> list[TrialReview]:
    """Review all trials by their observations before minute `until_minute`; returns reviews in order of tenants.

    Raises WorkspaceError.
    """
    reviews = {review.state.tenant: review for review in read_reviews(database, trials, until_minute)}
    due = sorted((one for one in reviews.values() if one.growth >= _MIN_GROWTH), key=lambda one: -one.growth)
    until_s = clock() + _REVIEW_SECONDS
    for start in range(0, len(due), _TRIALS_IN_MEMORY):
        if clock() > until_s:
            break
        judged = judge_trials(database, due[start : start + _TRIALS_IN_MEMORY], until_minute)
        reviews |= {one.state.tenant: one for one in judged}
    return list(reviews.values())


def read_reviews(
    database: Database, trials: Iterable[tuple[RolloutState, RolloutConfig]], until_minute: int
) -> list[TrialReview]:
    """Return the trials with their totals before minute `until_minute` and their last findings; judges none.

    Raises WorkspaceError.
    """
    in_order = sorted(trials, key=lambda one: one[0].tenant)
    if not in_order:
        return []
    totals = read_totals(database, [state for state, _ in in_order], until_minute)
    findings = read_findings(database)
    return [_make_review(state, config, totals[state.tenant], findings.get(state.tenant)) for state, config in in_order]


def read_offline_verdict(challenger: Version) -> OfflineVerdict:
    """Return the gate's verdict from the tag of a version."""
    verdict = challenger.tags.get("verdict")
    return "accepted" if verdict == "accepted" else "rejected" if verdict == "rejected" else "unknown"


def judge_trials(database: Database, reviews: Sequence[TrialReview], until_minute: int) -> list[TrialReview]:
    """Judge trials by all evidence before minute `until_minute`, and save the findings. Raises WorkspaceError."""
    evidence = read_evidence(database, [one.state for one in reviews], until_minute)
    judged = []
    for review in reviews:
        state = review.state
        findings = run_checks(review.config, evidence[state.tenant], shadow=state.mode == "shadow")
        key = make_trial_key(state, review.config)
        judged.append(replace(review, last_findings=TrialFindings(state.tenant, key, review.totals.seen, findings)))
    save_findings(database, [one.last_findings for one in judged if one.last_findings])
    return judged


def _make_review(
    state: RolloutState, config: RolloutConfig, totals: TrialTotals, before: TrialFindings | None
) -> TrialReview:
    same = before is not None and before.trial == make_trial_key(state, config)
    return TrialReview(state, config, totals, before if same else None)
