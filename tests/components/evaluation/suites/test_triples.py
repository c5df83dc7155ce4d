import math

import pytest

from components.evaluation.suites import score_suite
from components.evaluation.suites.triples import compute_multi_bleu, split_ascii_words, split_words


def test_text_is_split_at_every_character_that_is_not_part_of_a_word():
    assert split_words("Łódź's  U.S.-born (2.5%)") == "łódź ' s u . s . - born ( 2 . 5 % )"
    assert split_ascii_words("Łódź – “Café”") == 'lodz - " cafe "'


def test_a_missing_reference_counts_as_empty_for_the_closest_length():
    text, long = "a b c d e", "a b c d e f g h i j k"
    assert compute_multi_bleu([text], [[long]]) == pytest.approx(100)  # 0 words are closer to 5 than 11 words
    assert compute_multi_bleu([text], [[long, long, long]]) == pytest.approx(100 * math.exp(1 - 11 / 5))


def test_bleu_is_not_smoothed():
    assert compute_multi_bleu(["a b c x"], [["a b c d"]]) == pytest.approx(0, abs=1e-6)


def ter(suite, prediction, references):
    return score_suite(suite, [prediction], [references], metrics=["ter"])[0].value


def test_ter_counts_edits_over_the_mean_length():
    assert ter("webnlg", "The cat sat.", ["the cat sat .", "a cat sat down there ."]) == 0
    assert ter("webnlg", "a b c", ["a b d", "x y z v w"]) == pytest.approx(1 / 4)


def test_ter_uses_the_first_reference_in_dart_and_the_first_three_in_webnlg():
    references = ["x y z", "u v w", "a b d", "a b c"]
    assert ter("dart", "a b c", references) == 1
    assert ter("webnlg", "a b c", references) == pytest.approx(1 / 3)


def test_dart_keeps_accents():
    assert ter("dart", "José", ["Jose"]) == 1
    assert ter("webnlg", "José", ["Jose"]) == 0
