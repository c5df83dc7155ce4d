"""Trials judged by what serving saw, each anew only when it has grown: a cycle's work stays bounded as they grow old.

A stratum of the tests stays open until it holds 2 % of all answers, so a look at less than 1 % more tells nothing of
use. What has grown most is looked at first; what one cycle has no time for comes in the next. Knows no move.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from components.config.rollout import RolloutConfig
from components.rollout.policy.checks import run_checks
from components.rollout.store.findings_cache import TrialFindings, make_trial_key, read_findings, save_findings
from components.rollout.store.trial_totals import TrialTotals, read_evidence, read_totals
from components.rollout.types import Finding, RolloutState
from components.storage.database import Database

_MIN_GROWTH = 0.01
_TRIALS_IN_MEMORY = 20
"""Trials whose evidence is held in memory together."""
_REVIEW_SECONDS = 10.0
"""After which a cycle begins no more looks."""


@dataclass(frozen=True, slots=True)
class TrialReview:
    """A trial, and what is known of it."""

    state: RolloutState
    config: RolloutConfig
    totals: TrialTotals
    last_findings: TrialFindings | None
    """None: never looked at."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What the evidence was last found to say."""
        return self.last_findings.findings if self.last_findings else ()

    @property
    def growth(self) -> float:
        """What was seen since, as a share of all before."""
        if self.last_findings is None:
            return float("inf")
        return (self.totals.seen - self.last_findings.seen) / max(self.last_findings.seen, 1)


def review_trials(
    database: Database,
    trials: Iterable[tuple[RolloutState, RolloutConfig]],
    until_minute: int,
    clock: Callable[[], float] = time.monotonic,
) -> list[TrialReview]:
    """Every trial with what was seen up to before minute `until_minute`, in the order of tenants.

    Raises WorkspaceError.
    """
    in_order = sorted(trials, key=lambda one: one[0].tenant)
    seen, before = read_totals(database, [standing for standing, _ in in_order], until_minute), read_findings(database)
    found = {
        one.tenant: _make_review(one, config, seen[one.tenant], before.get(one.tenant)) for one, config in in_order
    }
    due = sorted((case for case in found.values() if case.growth >= _MIN_GROWTH), key=lambda case: -case.growth)
    until_s = clock() + _REVIEW_SECONDS
    for start in range(0, len(due), _TRIALS_IN_MEMORY):
        if clock() > until_s:
            break
        found |= {
            case.state.tenant: case
            for case in judge_trials(database, due[start : start + _TRIALS_IN_MEMORY], until_minute)
        }
    return list(found.values())


def judge_trials(database: Database, reviews: Sequence[TrialReview], until_minute: int) -> list[TrialReview]:
    """These cases, judged by all evidence up to before minute `until_minute`, which is kept. Raises WorkspaceError."""
    read = read_evidence(database, [case.state for case in reviews], until_minute)
    looked = []
    for case in reviews:
        standing = case.state
        findings = run_checks(case.config, read[standing.tenant], shadow=standing.mode == "shadow")
        found = TrialFindings(standing.tenant, make_trial_key(standing, case.config), case.totals.seen, findings)
        looked.append(replace(case, last_findings=found))
    save_findings(database, [case.last_findings for case in looked if case.last_findings])
    return looked


def _make_review(
    state: RolloutState, config: RolloutConfig, totals: TrialTotals, before: TrialFindings | None
) -> TrialReview:
    same = before is not None and before.trial == make_trial_key(state, config)
    return TrialReview(state, config, totals, before if same else None)
