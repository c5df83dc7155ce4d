"""Words of texts in any script, also of scripts without spaces between words. Knows texts; does not know tokenizers."""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Any

HAN_SCRIPTS = r"\p{Script=Han}\p{Script=Bopomofo}"
KANA_SCRIPTS = r"\p{Script=Hiragana}\p{Script=Katakana}\u30fc\uff70\uff9e\uff9f"
"""With the sign of long vowels and the half-width voiced marks, which are of no script."""
OTHER_UNSPACED_SCRIPTS = (
    r"\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}\p{Script=Javanese}"
    r"\p{Script=Balinese}\p{Script=Tai_Le}\p{Script=New_Tai_Lue}\p{Script=Tai_Tham}\p{Script=Tai_Viet}\p{Script=Yi}"
)
_FIRST_COMBINING_MARK = "\u0300"
_UNSPACED = f"{HAN_SCRIPTS}{KANA_SCRIPTS}{OTHER_UNSPACED_SCRIPTS}"
_CHARACTERS_OR_WORD = rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+"
_CHARACTER_WITH_MARKS = rf"[{_UNSPACED}]\p{{M}}*+"
_RUNS_OR_SYMBOL = (
    rf"((?:{_CHARACTER_WITH_MARKS})+)|[[\p{{L}}\p{{M}}\p{{N}}_]--[{_UNSPACED}]]+|[^\p{{L}}\p{{M}}\p{{N}}_\s]"
)


def split_characters_or_words(text: str) -> list[str]:
    """Return the words between spaces; each character of a script without spaces is a word of its own."""
    words: list[str] = compile_pattern(_CHARACTERS_OR_WORD).findall(text)
    return words


def split_words_and_symbols(text: str) -> list[str]:
    """Return runs of letters, marks, digits and underscores, and every other visible character.

    A run of a script without spaces gives its characters and its pairs of adjacent characters, as in search engines
    (Lucene's CJK analyzer).
    """
    if max(text, default="") < _FIRST_COMBINING_MARK:
        return re.findall(r"\w+|[^\w\s]", text)
    words: list[str] = []
    for match in compile_pattern(_RUNS_OR_SYMBOL).finditer(text):
        if match[1] is None:
            words.append(match[0])
        else:
            characters = compile_pattern(_CHARACTER_WITH_MARKS).findall(match[1])
            words += [*characters, *map("".join, pairwise(characters))]
    return words


@lru_cache
def compile_pattern(pattern: str) -> Any:
    """Compile at first use: the library and its tables of scripts take a tenth of a second."""
    import regex

    return regex.compile(pattern, regex.VERSION1)
