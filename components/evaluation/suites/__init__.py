"""The metrics of published benchmarks as their official scripts compute them: figures that stand beside the tables'.

`score_suite` takes texts and gives scores; `left_out` says beforehand which metrics this machine cannot compute, and
why. Knows no files. What gates and reports measure is `components.evaluation.metrics`, which has intervals.
"""

from components.evaluation.suites.scoring import (
    SUITES,
    left_out,
    named_suite,
    score_suite,
)
from components.evaluation.suites.suite import LABELS, LeftOut, Suite, SuiteScore

__all__ = [
    "LABELS",
    "SUITES",
    "LeftOut",
    "Suite",
    "SuiteScore",
    "left_out",
    "named_suite",
    "score_suite",
]
