"""Judges a trial's challenger by each check: worse than the champion, no worse ("fine"), or unclear yet.

`false_alarm` is divided equally among the checks (Bonferroni correction). So a challenger within all margins is called
worse, by any check at any time, with probability at most `false_alarm`. And a challenger that is beyond a check's
margin, and bad more often than `tolerated`, is called no worse by that check with probability at most `false_alarm`.
Knows no clock and no policy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

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


@dataclass(frozen=True, slots=True)
class CheckTrace:
    """One check's evidence after each stratum, in order of time, and what it finds at the end."""

    finding: Finding
    minutes: Sequence[int]
    """The last minute of each stratum since 1970."""
    answers: Sequence[int]
    """Answers of both arms until then."""
    worse_logs: FloatArray
    """Natural logs of the evidence that the challenger is worse."""
    fine_logs: FloatArray
    """Natural logs of the evidence that it is no worse."""


def run_checks(config: RolloutConfig, evidence: Sequence[Observation], *, shadow: bool = False) -> list[Finding]:
    """Return the finding of each check that has a margin; see `trace_checks`."""
    return [one.finding for one in trace_checks(config, evidence, shadow=shadow)]


def trace_checks(config: RolloutConfig, evidence: Sequence[Observation], *, shadow: bool = False) -> list[CheckTrace]:
    """Return the trace of each check that has a margin.

    `evidence` has one answer of each key in each section, in order of time. With `shadow`, latency and feedback are not
    judged: shadow answers are computed when the engine is idle, and no caller sees them.
    """
    checks = SHADOW_CHECKS if shadow else ROLLOUT_CHECKS
    margins = {check: margin for check in checks if (margin := getattr(config.margins, check)) is not None}
    needed = len(margins) / config.false_alarm
    return [
        trace_check(check, build_strata(check, evidence), margin, config.tolerated, needed)
        for check, margin in margins.items()
    ]


def trace_check(
    check: RolloutCheck, strata: Sequence[Stratum], margin: float, tolerated: float, needed: float
) -> CheckTrace:
    """Return the trace of one check on its strata, in order of time.

    The maximum over time counts, because the check could have been evaluated at that moment. A challenger is no worse
    if it is within the margin, or if less than `tolerated` of its answers are bad: with no bad answers there are no
    odds to compare. `needed`: evidence at which the check decides, 1/alpha.
    """
    worse_logs = compute_log_evidence(strata, margin, worse=True)
    within = compute_log_evidence(strata, margin, worse=False)
    fine_logs = average_log_evidence(within, compute_log_evidence_below(strata, tolerated))
    worse, fine = _find_max_evidence(worse_logs), _find_max_evidence(fine_logs)
    finding = Finding(
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
    answers = list(accumulate(one.champion + one.challenger for one in strata))
    return CheckTrace(finding, [one.minute for one in strata], answers, worse_logs, fine_logs)


def _find_max_evidence(logs: FloatArray) -> float:
    return round(math.exp(min(float(logs.max(initial=0.0)), 700.0)), 3)
