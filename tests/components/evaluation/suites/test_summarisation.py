import pytest

from components.evaluation.suites import score_suite


def test_rouge_is_the_mean_f1_against_the_best_reference_in_points():
    texts, references = ["a b c", "x"], [["a b d", "q r s"], ["x"]]
    scores = {one.metric: one.value for one in score_suite("summarisation", texts, references)}
    assert scores == pytest.approx({"rouge1": 100 * (2 / 3 + 1) / 2, "rouge2": 100 * (1 / 2) / 2, "rougeL": 250 / 3})


def test_words_are_stemmed_and_case_does_not_count():
    scores = score_suite("summarisation", ["He WALKS slowly"], [["he walking slowly"]], metrics=["rouge1"])
    assert [one.value for one in scores] == [pytest.approx(100)]
