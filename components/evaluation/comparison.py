"""Compares two sets of predictions for the same examples, row by row: sentence scores, wins, losses and ties.

A row's change is positive if the second prediction is better, also for metrics where lower is better. Does not know
which versions made the predictions.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from components.config import Metric, Tokenizer
from components.errors import GateError
from components.evaluation.metrics import (
    LOWER_IS_BETTER,
    METRIC_LABELS,
    compute_sentence_scores,
    compute_sentence_statistics,
)
from components.evaluation.report import Prediction

Outcome = Literal["win", "loss", "tie"]
"""Of the second prediction against the first."""

_SAME_SCORE = 1e-9
_ExampleKey = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedRow:
    """One example with both predictions and their sentence scores, in points."""

    number: int
    """Of the example in the second set, from 1."""
    source: str
    references: tuple[str, ...]
    slice: str | None
    first: str
    second: str
    first_score: float
    second_score: float
    change: float
    """Points by which the second is better; negative if it is worse."""

    @property
    def outcome(self) -> Outcome:
        """Whether the second prediction wins, loses or ties."""
        if abs(self.change) <= _SAME_SCORE:
            return "tie"
        return "win" if self.change > 0 else "loss"


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """Rows by outcome."""

    wins: int
    losses: int
    ties: int


def pair_predictions(
    first: Sequence[Prediction], second: Sequence[Prediction]
) -> list[tuple[int, Prediction, Prediction]]:
    """Return (number in `second` from 1, first, second) of the examples that both sets have, in the order of `second`.

    An example that a set has twice is paired in its order.

    Raises:
        GateError: no example is in both.
    """
    waiting: dict[_ExampleKey, list[Prediction]] = {}
    for one in reversed(first):
        waiting.setdefault(_get_example(one), []).append(one)
    pairs = []
    for number, other in enumerate(second, 1):
        if same := waiting.get(_get_example(other)):
            pairs.append((number, same.pop(), other))
    if not pairs:
        got = f"{len(first)} and {len(second)} predictions without a common example"
        raise GateError("predictions of both versions for the same examples", got, "evaluate both on the same split")
    return pairs


def compare_predictions(
    pairs: Sequence[tuple[int, Prediction, Prediction]], metric: Metric, *, lowercase: bool, tokenizer: Tokenizer
) -> list[ComparedRow]:
    """Return the rows, the largest change first, then in the order of the examples.

    Raises:
        GateError: there are no pairs, or the tokenizer is not installed.
    """
    references = [one.references for _, one, _ in pairs]
    scores = [
        compute_sentence_scores(metric, compute_sentence_statistics(metric, texts, references, lowercase, tokenizer))
        for texts in ([one.prediction for _, one, _ in pairs], [one.prediction for _, _, one in pairs])
    ]
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    rows = [
        ComparedRow(
            number=number,
            source=one.source,
            references=one.references,
            slice=one.slice,
            first=one.prediction,
            second=other.prediction,
            first_score=before,
            second_score=after,
            change=sign * (after - before),
        )
        for (number, one, other), before, after in zip(pairs, *(each.tolist() for each in scores), strict=True)
    ]
    return sorted(rows, key=lambda row: (-abs(row.change), row.number))


def count_outcomes(rows: Iterable[ComparedRow]) -> OutcomeCounts:
    """Return how many rows the second predictions win, lose and tie."""
    outcomes = [row.outcome for row in rows]
    return OutcomeCounts(*(outcomes.count(name) for name in ("win", "loss", "tie")))


def describe_counts(counts: OutcomeCounts, metric: Metric) -> str:
    """Return the counts as a sentence, with the p-value of the two-sided sign test (ties left out)."""
    decided = counts.wins + counts.losses
    label = METRIC_LABELS[metric]
    if not decided:
        return f"By {label}, all {counts.ties} rows are ties."
    sign_test = compute_sign_test(counts.wins, counts.losses)
    total = decided + counts.ties
    return (
        f"By {label}, the second version wins {counts.wins}, loses {counts.losses} and ties {counts.ties} of {total} "
        f"rows; sign test p = {sign_test:.2g}."
    )


def compute_sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact sign test: the probability of a split at least as uneven by chance.

    Source: Dixon and Mood (1946), The statistical sign test, doi:10.1080/01621459.1946.10501898.
    """
    total, fewer = wins + losses, min(wins, losses)
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) - total * math.log(2)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(log) for log in logs))


def _get_example(one: Prediction) -> _ExampleKey:
    return one.source, one.references  # an example may move to another slice
