"""Looks for signs of a broken model in the text of an answer: empty, repeated, too long.

Pure. A sign alone is no fault, since a tenant's correct answers may be long: the rollout compares how often each sign
occurs in the answers of challenger and champion. Knows no tenant and no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from components.model.text.words import split_characters_or_words

_MIN_REPEATS = 3
_MIN_LOOP_WORDS = 6
_MAX_LOOP_PERIOD = 16
_MAX_LOOP_PERIOD_UNSPACED = 48


@dataclass(frozen=True, slots=True)
class AnswerHealth:
    """The signs in one answer."""

    empty: bool
    """The answer has no characters but white space."""
    repeated: bool
    """The answer ends in a loop: the same words at least three times in a row, at least six words in all.

    In a script without spaces between words each character counts as a word.
    """
    over_long: bool
    """The answer reached its maximum length and was cut."""


def assess_answer(text: str, *, is_cut: bool) -> AnswerHealth:
    """Return the signs in an answer; `is_cut`: generation stopped at the maximum length."""
    return AnswerHealth(empty=not text.strip(), repeated=_has_loop(text), over_long=is_cut)


def _has_loop(text: str) -> bool:
    words, spaced = split_characters_or_words(text), text.split()
    longest = _MAX_LOOP_PERIOD if len(words) == len(spaced) else _MAX_LOOP_PERIOD_UNSPACED
    return any(_ends_in_loop(words, period) for period in range(1, min(longest, len(words) // _MIN_REPEATS) + 1))


def _ends_in_loop(words: Sequence[str], period: int) -> bool:
    """Whether the last words repeat with this period; the answer may stop in the middle of a repetition."""
    length = max(_MIN_REPEATS * period, _MIN_LOOP_WORDS)
    tail = words[-length:]
    return len(tail) == length and all(tail[index] == tail[index - period] for index in range(period, length))
