"""Words of scripts with and without spaces between words."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.model.text.words import split_characters_or_words, split_words_and_symbols


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The café, no. 7_b m²!", ["The", "café", ",", "no", ".", "7_b", "m²", "!"]),
        ("北京的 iPhone", ["北", "京", "的", "北京", "京的", "iPhone"]),
        ("ラーメン", ["ラ", "ー", "メ", "ン", "ラー", "ーメ", "メン"]),
        ("ﾊﾞｽ", ["ﾊ", "ﾞ", "ｽ", "ﾊﾞ", "ﾞｽ"]),
        ("ที่นี่。", ["ที่", "นี่", "ที่นี่", "。"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("Một quán", ["Một", "quán"]),
        ("서울의 공원", ["서울의", "공원"]),
    ],
)
def test_words_symbols_and_pairs_of_characters(text: str, words: list[str]) -> None:
    assert split_words_and_symbols(text) == words


BOPOMOFO = "\u02ea\u02eb"
"""Two tone marks of a script without spaces, among the modifier letters."""
LATIN = st.characters(
    min_codepoint=32, max_codepoint=0x451, exclude_categories=["Mn", "Mc", "Me"], exclude_characters=BOPOMOFO
)


@settings(max_examples=100, deadline=None)
@given(st.text(LATIN))
def test_latin_text_has_the_words_that_python_reads(text: str) -> None:
    assert split_words_and_symbols(text) == re.findall(r"\w+|[^\w\s]", text)
    assert split_characters_or_words(text) == text.split()
