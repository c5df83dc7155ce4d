"""NIST computed by hand after Doddington 2002: bits of information for each word, from all references together."""

import math

import pytest

from components.evaluation.suites import mteval


def test_nist_of_one_reference():
    # Each of the two words has 1 bit; the second word given the first has none.
    assert mteval.compute_nist(["a b"], [["a b"]]) == pytest.approx((1 + 1) / 2 + 0)


def test_nist_counts_an_examples_references_together():
    # Of four words `a` is a half (1 bit) and `b` a quarter (2 bits); after `a`, `b` is a half (1 bit).
    assert mteval.compute_nist(["a b"], [["a b", "a c"]]) == pytest.approx((1 + 2) / 2 + 1)


def test_nist_is_halved_at_two_thirds_of_the_reference_length():
    assert mteval.compute_nist(["a b"], [["a b c"]]) == pytest.approx(0.5 * math.log2(3))


def test_nist_adds_empty_references_as_the_official_script_does():
    # Nine words divided by two references: a mean length of 4.5 for both examples together, not 6.
    short = ["a b", "a b"]
    one = [["a b c"], ["a b c", "a b c"]]
    bits = (2 * 2 * math.log2(3)) / 4
    penalty = math.exp(math.log(0.5) / math.log(1.5) ** 2 * math.log(4 / 4.5) ** 2)
    assert mteval.compute_nist(short, one) == pytest.approx(penalty * bits)


def test_nist_of_empty_texts_is_zero():
    assert mteval.compute_nist([""], [["a b"]]) == 0.0
    assert mteval.compute_nist(["a"], [[""]]) == 0.0


def test_tokens_are_those_of_mteval():
    assert mteval._tokenize("The Café costs £20-25, 3.5 stars.") == (
        *("the", "café", "costs", "£20", "-", "25", ",", "3.5", "stars", "."),
    )
    assert mteval._tokenize("ÉCLAIR") == ("ÉClair".replace("C", "c"),)  # Perl's tr/A-Z/a-z/ changes only ASCII


def test_bleu_ignores_case():
    texts = ["The cat sat on the mat", "A dog ran"]
    assert mteval.compute_bleu([text.upper() for text in texts], [[text] for text in texts]) == pytest.approx(100)
