"""Every stem is compared with nltk's."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from components.evaluation import stemming
from components.evaluation.stemming import stem_word

SUFFIXES = sorted(
    {old for old, _ in (*stemming._DOUBLE_SUFFIXES, *stemming._LATE_SUFFIXES, *stemming._PLURALS)}
    | {*stemming._LAST_SUFFIXES, "ed", "eed", "ied", "ies", "ing", "y", "e", "ll", "logi", "alli", "ly"}
)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def official():
    return PorterStemmer()


def test_words_of_texts_have_nltks_stems(official):
    texts = [
        path.read_text(encoding="utf-8") for path in (*ROOT.glob("docs/**/*.md"), *ROOT.glob("components/**/*.py"))
    ]
    words = {word for text in texts for word in re.findall("[a-z0-9]+", text.lower())}
    assert len(words) > 5000
    assert {word: stem_word(word) for word in words} == {word: official.stem(word) for word in words}


def test_random_stems_with_every_suffix_have_nltks_stems(official):
    chooser = random.Random(7)
    words = {
        "".join(chooser.choices("aeiouybcdlstwxz1", k=chooser.randint(0, 5))) + first + second
        for first in (*SUFFIXES, "")
        for second in (*SUFFIXES, "")
        for _ in range(12)
    } | {*stemming._IRREGULAR}
    assert {word: stem_word(word) for word in words} == {word: official.stem(word) for word in words}


@settings(max_examples=300, deadline=None)
@given(word=st.text("abcdefghijklmnopqrstuvwxyz0123456789", max_size=14))
def test_any_word_has_nltks_stem(official, word):
    assert stem_word(word) == official.stem(word)
