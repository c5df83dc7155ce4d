"""The metrics of published benchmarks as their official scripts compute them: figures that stand beside the tables'.

`score_suite` takes texts and gives scores; `find_unavailable_metrics` says beforehand which metrics this machine cannot
compute, and why. Knows no files. What gates and reports measure is `components.evaluation.metrics`, which has
intervals.
"""

from components.evaluation.suites.scoring import (
    SUITES,
    find_suite,
    find_unavailable_metrics,
    score_suite,
)
from components.evaluation.suites.suite import SUITE_METRIC_LABELS, Suite, SuiteScore, UnavailableMetric

__all__ = [
    "SUITES",
    "SUITE_METRIC_LABELS",
    "Suite",
    "SuiteScore",
    "UnavailableMetric",
    "find_suite",
    "find_unavailable_metrics",
    "score_suite",
]
