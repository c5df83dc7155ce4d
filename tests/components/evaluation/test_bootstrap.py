import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_reports import TEXT_METRICS

from components.evaluation import bootstrap
from components.evaluation.bootstrap import bootstrap_interval, bootstrap_paired_difference
from components.evaluation.metrics import compute_corpus_score, compute_sentence_statistics

TEXT = "blue spice is a cheap pub near the river in city centre with good food"


def make_statistics(metric: str, seed: int = 0, sentences: int = 40, noise: float = 0.3):
    rng = np.random.default_rng(seed)
    words = np.array(TEXT.split())
    references = [[" ".join(rng.choice(words, 10))] for _ in range(sentences)]

    def add_noise(text: str) -> str:
        return " ".join(rng.choice(words) if rng.random() < noise else word for word in text.split())

    return compute_sentence_statistics(metric, [add_noise(own[0]) for own in references], references, True)


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_the_interval_contains_the_score_and_depends_on_the_seed(metric):
    own_NK = make_statistics(metric)
    low, high = bootstrap_interval(metric, own_NK, 500, 0.95, 0)
    assert low < compute_corpus_score(metric, own_NK) < high
    assert (
        (low, high)
        == bootstrap_interval(metric, own_NK, 500, 0.95, 0)
        != bootstrap_interval(metric, own_NK, 500, 0.95, 1)
    )


def test_the_interval_is_that_of_the_percentile_bootstrap():
    """Compare with a loop over samples, with the same draws."""
    own_NK = make_statistics("bleu")
    rng = np.random.default_rng(4)
    draws = rng.integers(0, len(own_NK), size=(200, len(own_NK)))
    scores = [compute_corpus_score("bleu", own_NK[rows]) for rows in draws]
    assert bootstrap_interval("bleu", own_NK, 200, 0.9, 4) == pytest.approx(tuple(np.quantile(scores, [0.05, 0.95])))


def test_an_interval_grows_with_confidence_and_shrinks_with_sentences():
    def width(statistics_NK, confidence: float) -> float:
        return np.diff(bootstrap_interval("rougeL", statistics_NK, 500, confidence, 0))[0]

    assert width(make_statistics("rougeL"), 0.8) < width(make_statistics("rougeL"), 0.99)
    assert width(make_statistics("rougeL", sentences=400), 0.95) < width(make_statistics("rougeL"), 0.95)


@pytest.mark.parametrize("metric", TEXT_METRICS)
def test_a_system_does_not_differ_from_itself(metric):
    own_NK = make_statistics(metric)
    assert bootstrap_paired_difference(metric, own_NK, own_NK, 200, 0.95, 0) == (0, 0, 0)


@settings(max_examples=25, deadline=None)
@given(metric=st.sampled_from(TEXT_METRICS), seeds=st.tuples(st.integers(0, 50), st.integers(0, 50)))
def test_exchanging_the_systems_negates_the_difference(metric, seeds):
    a_NK, b_NK = (make_statistics(metric, seed, 15) for seed in seeds)
    difference, low, high = bootstrap_paired_difference(metric, a_NK, b_NK, 100, 0.9, 0)
    assert low <= high
    assert bootstrap_paired_difference(metric, b_NK, a_NK, 100, 0.9, 0) == pytest.approx((-difference, -high, -low))


def test_the_interval_of_a_paired_difference_is_narrower_than_that_of_a_score():
    a_NK, b_NK = make_statistics("bleu", 1, noise=0.3), make_statistics("bleu", 1, noise=0.32)
    low, high = bootstrap_interval("bleu", a_NK, 500, 0.95, 0)
    _, low_difference, high_difference = bootstrap_paired_difference("bleu", a_NK, b_NK, 500, 0.95, 0)
    assert high_difference - low_difference < high - low


def test_blocks_of_draws_contain_every_sample(monkeypatch):
    monkeypatch.setattr(bootstrap, "_DRAWS_PER_BLOCK", 40 * 7)
    blocks = list(bootstrap._draw_counts(40, 30, 0))
    assert [len(block) for block in blocks] == [7, 7, 7, 7, 2]
    assert all((block.sum(axis=1) == 40).all() for block in blocks)


def test_a_thousand_samples_of_630_sentences_are_one_matrix_product():
    (counts_SN,) = bootstrap._draw_counts(630, 1000, 0)
    assert counts_SN.shape == (1000, 630)
