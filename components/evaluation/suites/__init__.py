"""The metrics of published benchmarks as their official scripts compute them, comparable with published tables.

`score_suite` scores texts; `find_unavailable_metrics` lists the metrics that this machine cannot compute, with the
reason. The metrics of reports and of the gate, which have intervals, are in `components.evaluation.metrics`.
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
