"""Bootstrap intervals of corpus scores and of their differences. Pure: sentence statistics and a seed in, numbers out.

Sentences are drawn with replacement; a sample is kept as how often each sentence was drawn, so that all samples'
statistics are one matrix product. Intervals are percentile intervals, two-sided: each end leaves out
(1 - confidence) / 2 of the samples. Paired differences use one set of draws for both systems (Koehn 2004,
"Statistical significance tests for machine translation evaluation").

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
    """The low and high end of the corpus score's confidence interval, in the metric's points."""
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
    """Score of `a` minus score of `b` on the same N sentences, with its low and high end, in the metric's points."""
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
    """How often each sentence is drawn, [S, N], in blocks that fit in memory."""
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
