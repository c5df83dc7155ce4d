"""ROUGE-1, ROUGE-2 and ROUGE-L of summaries: mean F1 as of rouge-score with stemming, in points of 0..100.

Words are the letters and digits of every script; rouge-score's own tokenizer, which agrees on ASCII text, reads a-z
only. References in a script without spaces are split by the tokenizer of their language. Of several references the best
one counts. The scripts behind the published XSUM figures report the middle of a bootstrap instead of the mean; the two
differ in the second decimal.
"""

from collections.abc import Collection, Mapping, Sequence

from components.config import Metric
from components.evaluation.metrics import compute_corpus_score, compute_sentence_statistics
from components.evaluation.suites.suite import ExampleIndices, Suite
from components.evaluation.tokenization import resolve_tokenizer

_METRICS: tuple[Metric, ...] = ("rouge1", "rouge2", "rougeL")
_VARIANT = "rouge-score, stemmed, words of all scripts, mean F1, best reference, in points"


def compute_scores(
    wanted: Collection[str],
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    groups: Sequence[ExampleIndices],
) -> Mapping[str, list[float]]:
    """Return the wanted metrics for each group of rows."""
    tokenizer = resolve_tokenizer("auto", (text for own in references for text in own))
    values: dict[str, list[float]] = {}
    for metric in _METRICS:
        if metric in wanted:
            statistics_NK = compute_sentence_statistics(metric, predictions, references, True, tokenizer)
            values[metric] = [compute_corpus_score(metric, statistics_NK[list(rows)]) for rows in groups]
    return values


SUITE = Suite(
    "summarisation",
    {str(metric): _VARIANT for metric in _METRICS},
    frozenset(),
    frozenset(_METRICS),
    compute_scores,
)
