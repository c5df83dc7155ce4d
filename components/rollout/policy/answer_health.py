"""Whether an answer looks healthy, from its text alone: pure, cheap, the same for every tenant.

None of the three is a fault by itself (a tenant's right answers may be long): the rollout compares how often the
challenger's answers are so with how often the champion's are. Knows no tenant and no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_MIN_REPEATS = 3
_MIN_LOOP_WORDS = 6
_MAX_LOOP_PERIOD = 16


@dataclass(frozen=True, slots=True)
class AnswerHealth:
    """One answer."""

    empty: bool
    """Nothing to read in it."""
    repeated: bool
    """It ends in a loop: the same words at least three times in a row, at least six words in all."""
    over_long: bool
    """It was cut, since it did not end by itself."""


def assess_answer(text: str, *, is_cut: bool) -> AnswerHealth:
    """An answer's health; `is_cut`: it reached the greatest length that it was allowed."""
    return AnswerHealth(empty=not text.strip(), repeated=_has_loop(text.split()), over_long=is_cut)


def _has_loop(words: Sequence[str]) -> bool:
    return any(
        _ends_in_loop(words, period) for period in range(1, min(_MAX_LOOP_PERIOD, len(words) // _MIN_REPEATS) + 1)
    )


def _ends_in_loop(words: Sequence[str], period: int) -> bool:
    """Whether the last words, as many as a loop needs, each equal the one `period` before them.

    A cut answer may stop anywhere in its loop, so nothing is asked of where the loop begins.
    """
    length = max(_MIN_REPEATS * period, _MIN_LOOP_WORDS)
    tail = words[-length:]
    return len(tail) == length and all(tail[index] == tail[index - period] for index in range(period, length))
