"""Find how a tokenizer marks the start of a text, so that pieces can be encoded as the ids of one running text.

Some tokenizers put tokens before a text (BOS, [CLS]), and some put a space before its first word (SentencePiece,
`add_prefix_space`). A source is encoded as the start of a text; a target continues it, after one space. Found by
encoding a word alone and after itself, never by the tokenizer's class. Knows tokenizers; does not know models.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

_WORDS = ("a", "the", "x", "of", "no", "1")
_MOST_TRIED_TOKENS = 2000


@dataclass(frozen=True, slots=True)
class RunningText:
    """The conventions of one tokenizer."""

    lead_ids: tuple[int, ...] = ()
    """What the tokenizer puts before a text."""
    joiner: str = " "
    """What to put before a text that continues another after a space: a space, or "" if the tokenizer adds one."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing is put before a text, so that a space is encoded only where it is written."""
        return not self.lead_ids and self.joiner == " "


@lru_cache(maxsize=8)
def find_running_text(tokenizer: Any) -> RunningText:
    """Return the conventions of a tokenizer; cached for the last eight, which must not change afterwards."""
    return probe_running_text(
        lambda text: encode_plain(tokenizer, [text])[0],
        lambda text: tokenizer([text], split_special_tokens=True, verbose=False)["input_ids"][0],
        tokenizer.unk_token_id,
        _list_words(tokenizer),
    )


def probe_running_text(
    encode: Callable[[str], list[int]],
    encode_marked: Callable[[str], list[int]],
    unknown_id: int | None,
    words: Iterable[str] = _WORDS,
) -> RunningText:
    """Return the conventions of a pair of functions from a text to ids, without and with special tokens.

    The first of `words` that is known is encoded alone and after itself; without one, the conventions are plain.
    """
    for word in words:
        alone, twice = encode(word), encode(f"{word} {word}")
        if alone and unknown_id not in alone and twice[: len(alone)] == alone:
            adds_space = twice[len(alone) :] == alone != encode(f" {word}")
            return RunningText(_find_lead(encode_marked(word), alone), "" if adds_space else " ")
    return RunningText()


def encode_plain(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the ids of texts without special tokens; names of special tokens in a text are plain text."""
    if not texts:
        return []
    # split_special_tokens: "<|endoftext|>" in a tenant's text is plain text and must not end it.
    encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def _list_words(tokenizer: Any) -> Iterator[str]:
    yield from _WORDS
    for number in range(min(len(tokenizer), _MOST_TRIED_TOKENS)):
        word = str(tokenizer.decode([number], skip_special_tokens=True)).strip()
        if word.isalpha():
            yield word


def _find_lead(marked: list[int], alone: list[int]) -> tuple[int, ...]:
    starts = (start for start in range(len(marked)) if marked[start : start + len(alone)] == alone)
    return tuple(marked[: next(starts, 0)])
