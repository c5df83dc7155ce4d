"""NIST computed by hand after Doddington 2002: bits of information for each word, from all references together."""

import math

import mteval_transcript
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluation.suites import mteval


def test_nist_of_one_reference():
    # Each of the two words has 1 bit; the second word given the first has none.
    assert mteval.compute_nist(["a b"], [["a b"]]) == pytest.approx((1 + 1) / 2 + 0)


def test_nist_counts_an_examples_references_together():
    # Of four words `a` is a half (1 bit) and `b` a quarter (2 bits); after `a`, `b` is a half (1 bit).
    assert mteval.compute_nist(["a b"], [["a b", "a c"]]) == pytest.approx((1 + 2) / 2 + 1)


def test_nist_is_halved_at_two_thirds_of_the_reference_length():
    assert mteval.compute_nist(["a b"], [["a b c"]]) == pytest.approx(0.5 * math.log2(3))


@pytest.mark.parametrize("own", [["a b c"], ["a b c", "a b c"], ["a b c", "", " "]])
def test_the_penalty_has_the_mean_length_of_all_references_with_a_word(own):
    # Both examples have references of three words, whatever their number: the outputs have two thirds of the length.
    short, bits = ["a b", "a b"], 4 * math.log2(3) / 4
    assert mteval.compute_nist(short, [["a b c"], own]) == pytest.approx(0.5 * bits)


WORDS = st.sampled_from(
    ["the", "mill", "Mill", "0", "a", "£20-25", "3.5,", "cheap.", "café", "ÉCLAIR", "&amp;", "&LT;"]
)
SENTENCES = st.lists(WORDS, max_size=9).map(" ".join)
WORDED = st.lists(WORDS, min_size=1, max_size=9).map(" ".join)
EXAMPLES = st.tuples(SENTENCES, st.tuples(WORDED, st.lists(SENTENCES, max_size=4)).map(lambda own: [own[0], *own[1]]))


@settings(max_examples=150, deadline=None)
@given(examples=st.lists(EXAMPLES, min_size=1, max_size=7))
def test_bleu_and_nist_equal_the_official_script(examples):
    texts, references = [text for text, _ in examples], [own for _, own in examples]
    bleu, nist = mteval_transcript.score_corpus(texts, references)
    assert mteval.compute_bleu(texts, references) == pytest.approx(100 * bleu)
    assert mteval.compute_nist(texts, references) == pytest.approx(nist)


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
