"""NIST by hand, after Doddington 2002: bits per word that only the texts of all references know."""

import math

import pytest

from components.evaluation.suites import mteval


def test_nist_of_one_reference():
    # Each of two words tells 1 bit, the second after the first none.
    assert mteval.compute_nist(["a b"], [["a b"]]) == pytest.approx((1 + 1) / 2 + 0)


def test_nist_takes_an_examples_references_together():
    # Of four words `a` is half (1 bit), `b` a quarter (2 bits), `b` after `a` half (1 bit).
    assert mteval.compute_nist(["a b"], [["a b", "a c"]]) == pytest.approx((1 + 2) / 2 + 1)


def test_nist_halves_what_is_two_thirds_as_long():
    assert mteval.compute_nist(["a b"], [["a b c"]]) == pytest.approx(0.5 * math.log2(3))


def test_nist_fills_up_with_empty_references_as_the_official_script_does():
    # Nine words over two references make a mean length of 4.5 for both examples together, not 6.
    short = ["a b", "a b"]
    one = [["a b c"], ["a b c", "a b c"]]
    bits = (2 * 2 * math.log2(3)) / 4
    penalty = math.exp(math.log(0.5) / math.log(1.5) ** 2 * math.log(4 / 4.5) ** 2)
    assert mteval.compute_nist(short, one) == pytest.approx(penalty * bits)


def test_nist_of_nothing_is_nothing():
    assert mteval.compute_nist([""], [["a b"]]) == 0.0
    assert mteval.compute_nist(["a"], [[""]]) == 0.0


def test_words_are_those_of_mteval():
    assert mteval._tokenize("The Café costs £20-25, 3.5 stars.") == (
        *("the", "café", "costs", "£20", "-", "25", ",", "3.5", "stars", "."),
    )
    assert mteval._tokenize("ÉCLAIR") == ("ÉClair".replace("C", "c"),)  # Perl's tr/A-Z/a-z/ knows ASCII alone


def test_bleu_is_blind_to_case():
    texts = ["The cat sat on the mat", "A dog ran"]
    assert mteval.compute_bleu([text.upper() for text in texts], [[text] for text in texts]) == pytest.approx(100)
