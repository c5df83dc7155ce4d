"""Turn a row's tokens into pieces of text as they are generated; text that a stop string may still remove is held back.

The joined pieces are the decoded text of the row's ids, without spaces at its ends, cut before the first stop string.
A token's text is what it adds to that text: the joined tokens are the text as well, and where a character comes in
several tokens, the last of them has it.
Knows a tokenizer's `decode`; does not know models or requests.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from typing import Any

from components.serving.interface import AnswerPiece, FinishReason, Token

_DECODE_CACHE_SIZE = 1 << 16
"""Texts. Each new token is decoded alone and together with the one before it, and these pairs recur."""
_REPLACEMENT_CHAR = "\ufffd"
"""The text of an incomplete UTF-8 sequence."""


@dataclass(slots=True)
class _PendingToken:
    """A token that was not returned yet; `offset` is where its text begins in the row's."""

    offset: int
    logprob: float | None
    alternatives: tuple[tuple[str, float], ...]
    text: str = ""

    def to_token(self, end: int) -> Token:
        """Return the token with the part of its text before `end`."""
        offset = min(self.offset, end)
        return Token(self.text[: end - offset], self.logprob, self.alternatives, offset)


@dataclass(slots=True)
class IncrementalDetokenizer:
    """The ids and the text of one row so far."""

    decode: Callable[[Sequence[int]], str]
    stop_strings: tuple[str, ...] = ()
    token_ids: list[int] = field(default_factory=list)
    answer_tokens: int = 0
    """Tokens of the answer if it ended now: all, without those that a stop string has cut off."""
    _text: str = ""
    """The text of the decoded ids, without spaces at its start."""
    _sent_chars: int = 0
    _decoded_count: int = 0
    """How many ids the text includes."""
    _context_start: int = 0
    """Index of the id before the new ones: new ids are decoded together with it, as an id's text may depend on it."""
    _pending: list[_PendingToken] = field(default_factory=list)

    def add_token(
        self, token: int, logprob: float | None = None, others: Sequence[tuple[int, float]] = ()
    ) -> AnswerPiece | None:
        """Add a token; returns the text that is final now, or None; `finish` is "stop" after a stop string.

        `others` are the likeliest tokens as (id, log probability).
        """
        start = len(self._text)
        alternatives = tuple((self._decode_instead(other), value) for other, value in others)
        self.token_ids.append(token)
        self.answer_tokens += 1
        self._pending.append(_PendingToken(start, logprob, alternatives))
        new_text = self._decode_new_text()
        if not new_text or new_text.endswith(_REPLACEMENT_CHAR):
            return None
        self._context_start, self._decoded_count = self._decoded_count, len(self.token_ids)
        self._append(new_text)
        return self._cut_at_stop(start) or self._take_final_text()

    def finish(self, finish: FinishReason) -> AnswerPiece:
        """Return the rest of the text, without spaces at its end."""
        start = len(self._text)
        if new_text := self._decode_new_text():
            self._append(new_text)
        if (piece := self._cut_at_stop(start)) is not None:
            return piece
        text = self._text.rstrip()
        return AnswerPiece(text[self._sent_chars :], tuple(one.to_token(len(text)) for one in self._pending), finish)

    def _append(self, new_text: str) -> None:
        self._pending[-1].text = new_text if self._text else new_text.lstrip()
        self._text += self._pending[-1].text

    def _decode_instead(self, token: int) -> str:
        """Return what another token would add to the text at this place."""
        context = self.decode(self.token_ids[self._context_start : self._decoded_count])
        text = self.decode([*self.token_ids[self._context_start :], token])[len(context) :]
        return text if self._text else text.lstrip()

    def _decode_new_text(self) -> str:
        context = self.decode(self.token_ids[self._context_start : self._decoded_count])
        return self.decode(self.token_ids[self._context_start :])[len(context) :]

    def _cut_at_stop(self, start: int) -> AnswerPiece | None:
        """Return the text before the first stop string that ends after `start`, or None if there is none."""
        longest = max(map(len, self.stop_strings), default=0)
        offsets = [self._text.find(stop, max(start - longest + 1, 0)) for stop in self.stop_strings]
        stops = [offset for offset in offsets if offset >= 0]
        if not stops:
            return None
        kept = self._text[: min(stops)].rstrip()
        tokens = tuple(one.to_token(len(kept)) for one in self._pending if one.offset < len(kept))
        self.answer_tokens -= len(self._pending) - len(tokens)
        return AnswerPiece(kept[self._sent_chars :], tokens, "stop")

    def _take_final_text(self) -> AnswerPiece | None:
        """Return the text before a possible start of a stop string; spaces at its end are held back too."""
        end = len(self._text)
        for stop in self.stop_strings:
            for length in range(min(len(stop) - 1, len(self._text)), 0, -1):
                if self._text.endswith(stop[:length]):
                    end = min(end, len(self._text) - length)
                    break
        end = len(self._text[:end].rstrip())
        if end <= self._sent_chars:
            return None
        whole = takewhile(lambda one: one.offset + len(one.text) <= end, self._pending)
        piece = AnswerPiece(self._text[self._sent_chars : end], tuple(one.to_token(end) for one in whole))
        self._pending = self._pending[len(piece.tokens) :]
        self._sent_chars = end
        return piece


def make_decode(tokenizer: Any) -> Callable[[Sequence[int]], str]:
    """Return a cached decode function with a copy of the tokenizer: other threads encode with the tokenizer itself."""
    own = copy.deepcopy(tokenizer)

    @lru_cache(_DECODE_CACHE_SIZE)
    def decode(ids: tuple[int, ...]) -> str:
        return str(own.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return lambda ids: decode(tuple(ids))
