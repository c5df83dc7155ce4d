"""What the observations of a trial say of its challenger, check by check: worse, no worse, or not clear yet.

`false_alarm` is shared out equally among the checks (Bonferroni): the chance that a challenger within all margins is
called worse by any check, at any time, is at most `false_alarm`; and so is the chance that one check calls a challenger
no worse that is beyond its margin and bad more often than is tolerated. Knows no clock and no policy.
"""

import math
from collections.abc import Sequence

from components.config.rollout import ROLLOUT_CHECKS, SHADOW_CHECKS, RolloutCheck, RolloutConfig
from components.rollout.policy.sequential_test import (
    FloatArray,
    Stratum,
    average_log_evidence,
    compute_log_evidence,
    compute_log_evidence_below,
)
from components.rollout.policy.strata import build_strata
from components.rollout.types import Finding, Observation


def run_checks(config: RolloutConfig, evidence: Sequence[Observation], *, shadow: bool = False) -> list[Finding]:
    """Every check's finding on a trial's evidence: one answer of each key in each section, in the order of time.

    Of a `shadow` neither latency nor feedback is judged: its answers wait for idle moments, and nobody sees them.
    """
    checks = SHADOW_CHECKS if shadow else ROLLOUT_CHECKS
    margins = {check: margin for check in checks if (margin := getattr(config.margins, check)) is not None}
    needed = len(margins) / config.false_alarm
    tolerated = config.tolerated
    return [
        judge_check(check, build_strata(check, evidence), margin, tolerated, needed)
        for check, margin in margins.items()
    ]


def judge_check(
    check: RolloutCheck, strata: Sequence[Stratum], margin: float, tolerated: float, needed: float
) -> Finding:
    """One check's finding; `needed` is 1/alpha. The greatest evidence ever counts: a look then would have seen it.

    No worse is what is within the margin, or bad less often than `tolerated`: odds of nothing cannot be compared.
    """
    worse = _find_max_evidence(compute_log_evidence(strata, margin, worse=True))
    within = compute_log_evidence(strata, margin, worse=False)
    fine = _find_max_evidence(average_log_evidence(within, compute_log_evidence_below(strata, tolerated)))
    return Finding(
        check=check,
        says="worse" if worse >= needed else "fine" if fine >= needed else "unclear",
        champion=sum(one.champion for one in strata),
        champion_bad=sum(one.champion_bad for one in strata),
        challenger=sum(one.challenger for one in strata),
        challenger_bad=sum(one.challenger_bad for one in strata),
        margin=margin,
        evidence_worse=worse,
        evidence_fine=fine,
        needed=needed,
    )


def _find_max_evidence(logs: FloatArray) -> float:
    return round(math.exp(min(float(logs.max(initial=0.0)), 700.0)), 3)
