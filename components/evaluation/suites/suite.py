"""The types of a suite: a benchmark's metrics in the order of the published tables, and their scores."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

ExampleIndices = Sequence[int]
"""Indices (from 0) of the examples of a slice."""

ScoreFunction = Callable[
    [Collection[str], Sequence[str], Sequence[Sequence[str]], Sequence[ExampleIndices]], Mapping[str, list[float]]
]
"""(wanted metrics, predictions, references, groups of rows) -> each metric's value for each group."""

SUITE_METRIC_LABELS = {
    "bleu": "BLEU",
    "nist": "NIST",
    "meteor": "METEOR",
    "rougeL": "ROUGE-L",
    "cider": "CIDEr",
    "ter": "TER",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
}


@dataclass(frozen=True, slots=True)
class SuiteScore:
    """One metric over the `n` examples of one slice, in the unit of the published tables.

    BLEU and summarisation's ROUGE are points of 0..100; METEOR, E2E's ROUGE-L and TER are rates (TER may exceed 1;
    lower is better); NIST and CIDEr have no upper bound. `variant` describes how the value was computed.
    """

    metric: str
    slice: str
    value: float
    n: int
    variant: str


@dataclass(frozen=True, slots=True)
class UnavailableMetric:
    """A metric of a suite that this machine cannot compute, with the reason and the fix."""

    metric: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark's metrics with their variants, those that need Java, those in points, and the scoring function."""

    name: str
    variants: Mapping[str, str]
    java_metrics: frozenset[str]
    point_metrics: frozenset[str]
    compute_scores: ScoreFunction

    def format_value(self, metric: str, value: float) -> str:
        """Return the value with as many digits as in the published tables."""
        return f"{value:.{2 if metric in self.point_metrics else 4}f}"
