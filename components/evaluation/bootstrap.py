"""Bootstrap intervals of corpus scores and of their differences: functions of sentence statistics and a seed.

Sentences are drawn with replacement. A sample is stored as the number of times that each sentence was drawn, so that
one matrix product gives the statistics of all samples. Intervals are two-sided percentile intervals:
(1 - confidence) / 2 of the samples lie beyond each end. Paired differences use the same draws for both systems (Koehn
2004, "Statistical significance tests for machine translation evaluation").

Shapes: N sentences, K statistics of a metric, S samples.
"""

from collections.abc import Iterator

import numpy as np

from components.config import Metric
from components.evaluation.metrics import Array, compute_corpus_score, compute_scores_from_sums

_DRAWS_PER_BLOCK = 4_000_000


def bootstrap_interval(
    metric: Metric, statistics_NK: Array, samples: int, confidence: float, seed: int
) -> tuple[float, float]:
    """Return the low and the high end of the corpus score's confidence interval, in the metric's points."""
    scores_S = np.concatenate(
        [
            compute_scores_from_sums(metric, counts_SN @ statistics_NK)
            for counts_SN in _draw_counts(len(statistics_NK), samples, seed)
        ]
    )
    return _compute_interval_ends(scores_S, confidence)


def bootstrap_paired_difference(
    metric: Metric, statistics_a_NK: Array, statistics_b_NK: Array, samples: int, confidence: float, seed: int
) -> tuple[float, float, float]:
    """Return the score of `a` minus that of `b` on the same N sentences and its interval's ends, in points."""
    assert statistics_a_NK.shape == statistics_b_NK.shape  # noqa: S101
    differences_S = np.concatenate(
        [
            compute_scores_from_sums(metric, counts_SN @ statistics_a_NK)
            - compute_scores_from_sums(metric, counts_SN @ statistics_b_NK)
            for counts_SN in _draw_counts(len(statistics_a_NK), samples, seed)
        ]
    )
    difference = compute_corpus_score(metric, statistics_a_NK) - compute_corpus_score(metric, statistics_b_NK)
    return difference, *_compute_interval_ends(differences_S, confidence)


def _draw_counts(sentences: int, samples: int, seed: int) -> Iterator[Array]:
    """Yield how often each sentence is drawn, [S, N], in blocks of samples to limit memory."""
    generator = np.random.default_rng(seed)
    block = max(1, _DRAWS_PER_BLOCK // sentences)
    for start in range(0, samples, block):
        rows = min(block, samples - start)
        drawn_SN = generator.integers(0, sentences, size=(rows, sentences)) + sentences * np.arange(rows)[:, None]
        counts = np.bincount(drawn_SN.ravel(), minlength=rows * sentences)
        yield counts.reshape(rows, sentences).astype(np.float64)


def _compute_interval_ends(values_S: Array, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values_S, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
