"""Marks where two texts differ, word by word.

A word is a run of letters and digits; each other sign, and each character of a script without spaces, is one too. Knows
no metric: how different two texts are is not judged here.
"""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, Japanese syllables and Chinese characters."""
_WORDS = re.compile(rf"\s+|[{_UNSPACED}]|(?:(?![{_UNSPACED}])\w)+|[^\w\s]")


class TextPart(NamedTuple):
    """A part of one of two texts; its parts joined are the text."""

    text: str
    is_shared: bool
    """Whether the other text has it at this place too."""


def find_differences(first: str, second: str) -> tuple[list[TextPart], list[TextPart]]:
    """Return the parts of both texts. Longest common runs of words first (difflib's Ratcliff and Obershelp)."""
    words, others = _WORDS.findall(first), _WORDS.findall(second)
    blocks = SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    own = _split_at_blocks(words, [(one.a, one.size) for one in blocks])
    return list(own), list(_split_at_blocks(others, [(one.b, one.size) for one in blocks]))


def _split_at_blocks(words: Sequence[str], blocks: Sequence[tuple[int, int]]) -> Iterator[TextPart]:
    done = 0
    for start, size in blocks:
        if start > done:
            yield TextPart("".join(words[done:start]), is_shared=False)
        if size:
            yield TextPart("".join(words[start : start + size]), is_shared=True)
        done = start + size
