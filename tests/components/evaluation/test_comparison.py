"""Two sets of predictions row by row: pairs, sentence scores, order, counts."""

import pytest
from scipy.stats import binomtest

from components.errors import GateError
from components.evaluation.comparison import (
    OutcomeCounts,
    compare_predictions,
    compute_sign_test,
    count_outcomes,
    describe_counts,
    pair_predictions,
)
from components.evaluation.report import Prediction


def predict(*texts, sources=None):
    references = ("the red boat is here",)
    return [
        Prediction(sources[number] if sources else f"source {number}", references, None, text)
        for number, text in enumerate(texts)
    ]


def compare(first, second, metric="chrf"):
    return compare_predictions(pair_predictions(first, second), metric, lowercase=True, tokenizer="13a")


def test_rows_are_sorted_by_their_change_and_say_who_wins():
    first = predict("the red boat is here", "a boat", "the red boat", "same")
    second = predict("no", "the red boat is here", "the red boat is", "same")
    rows = compare(first, second)
    assert [row.outcome for row in rows] == ["loss", "win", "win", "tie"]
    assert [row.number for row in rows] == [1, 2, 3, 4]
    assert rows[0].first_score == 100
    assert rows[0].change == rows[0].second_score - rows[0].first_score < 0
    assert count_outcomes(rows) == OutcomeCounts(2, 1, 1)
    assert (rows[0].first, rows[0].second, rows[0].source) == ("the red boat is here", "no", "source 0")


def test_lower_ter_is_a_win():
    (row,) = compare(predict("a blue lamp"), predict("the red boat is here"), "ter")
    assert row.second_score < row.first_score
    assert row.outcome == "win"


def test_only_examples_of_both_sets_are_paired_and_repeated_ones_in_their_order():
    first = predict("a", "b", "c", sources=["x", "x", "gone"])
    second = predict("d", "e", "f", "g", sources=["new", "x", "x", "x"])
    assert [(number, one.prediction, other.prediction) for number, one, other in pair_predictions(first, second)] == [
        (2, "a", "e"),
        (3, "b", "f"),
    ]
    with pytest.raises(GateError, match="without a common example"):
        pair_predictions(predict("a", sources=["x"]), predict("a", sources=["y"]))


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (9, 1), (1, 9), (30, 30), (700, 500)])
def test_the_sign_test_is_scipy_s(wins, losses):
    assert compute_sign_test(wins, losses) == pytest.approx(binomtest(wins, wins + losses).pvalue)


def test_the_counts_are_a_sentence():
    sentence = describe_counts(OutcomeCounts(9, 1, 4), "chrf")
    assert sentence == "By chrF, the second version wins 9, loses 1 and ties 4 of 14 rows; sign test p = 0.021."
    assert describe_counts(OutcomeCounts(0, 0, 3), "bleu") == "By BLEU, all 3 rows are ties."
