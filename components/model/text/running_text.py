"""Find how a tokenizer marks the start of a text, so that pieces can be encoded as the ids of one running text.

Some tokenizers put tokens before a text (BOS, [CLS]), and some put a space before its first word (SentencePiece,
`add_prefix_space`). A source is encoded as the start of a text; a target continues it, after one space. Found by
encoding a word alone and after itself, never by the tokenizer's class. Knows tokenizers; does not know models.
"""

from collections.abc import Iterator
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
    for word in _list_words(tokenizer):
        alone, twice = encode_plain(tokenizer, [word, f"{word} {word}"])
        if not alone or tokenizer.unk_token_id in alone or twice[: len(alone)] != alone:
            continue
        spaced = encode_plain(tokenizer, [f" {word}"])[0]
        adds_space = twice[len(alone) :] == alone != spaced
        return RunningText(_find_lead(tokenizer, word, alone), "" if adds_space else " ")
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


def _find_lead(tokenizer: Any, word: str, alone: list[int]) -> tuple[int, ...]:
    marked = tokenizer([word], split_special_tokens=True, verbose=False)["input_ids"][0]
    starts = (start for start in range(len(marked)) if marked[start : start + len(alone)] == alone)
    return tuple(marked[: next(starts, 0)])
