"""A row's text as it comes: what is certain goes out, what a stop string could still take back waits.

The pieces joined are what `components.model.text.texts.Texts.text` makes of the row's ids, cut before the first stop
string.
Knows a tokenizer's `decode`; does not know models or requests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from components.serving.interface import AnswerPiece, FinishReason, Token

_REPLACEMENT_CHAR = "\ufffd"
"""What the bytes of half a character decode to."""


@dataclass(slots=True)
class IncrementalDetokenizer:
    """One row's ids and text so far."""

    decode: Callable[[Sequence[int]], str]
    stop_strings: tuple[str, ...] = ()
    token_ids: list[int] = field(default_factory=list)
    _text: str = ""
    """Without the spaces at its start."""
    _sent_chars: int = 0
    _decoded_count: int = 0
    """The text holds so many ids."""
    _context_start: int = 0
    """Ids are decoded from here on, since what one decodes to may depend on the one before."""
    _pending: list[tuple[int, Token]] = field(default_factory=list)
    """Tokens that are not out, with where their text starts."""

    def add_token(
        self, token: int, logprob: float | None = None, others: Sequence[tuple[int, float]] = ()
    ) -> AnswerPiece | None:
        """Take a new token in; returns what is certain now, with the finish "stop" where a stop string came."""
        start = len(self._text)
        self.token_ids.append(token)
        likely = tuple((self.decode([other]), value) for other, value in others)
        self._pending.append((start, Token(self.decode([token]), logprob, likely)))
        more = self._decode_new_text()
        if not more or more.endswith(_REPLACEMENT_CHAR):
            return None
        self._context_start, self._decoded_count = self._decoded_count, len(self.token_ids)
        self._text = self._text + more if self._text else more.lstrip()
        return self._cut_at_stop(start) or self._take_certain_text()

    def finish(self, finish: FinishReason) -> AnswerPiece:
        """The rest, without the spaces at its end."""
        start = len(self._text)
        more = self._decode_new_text()
        self._text = self._text + more if self._text else more.lstrip()
        if (piece := self._cut_at_stop(start)) is not None:
            return piece
        text = self._text[self._sent_chars :].rstrip()
        return AnswerPiece(text, tuple(token for _, token in self._pending), finish)

    def _decode_new_text(self) -> str:
        known = self.decode(self.token_ids[self._context_start : self._decoded_count])
        return self.decode(self.token_ids[self._context_start :])[len(known) :]

    def _cut_at_stop(self, start: int) -> AnswerPiece | None:
        """What is left before a stop string that the text from `start` on completes."""
        longest = max(map(len, self.stop_strings), default=0)
        places = [self._text.find(stop, max(start - longest + 1, 0)) for stop in self.stop_strings]
        found = [place for place in places if place >= 0]
        if not found:
            return None
        kept = self._text[: min(found)].rstrip()
        tokens = tuple(token for start, token in self._pending if start < len(kept))
        return AnswerPiece(kept[self._sent_chars :], tokens, "stop")

    def _take_certain_text(self) -> AnswerPiece | None:
        """What no stop string can begin in; spaces wait too, since they are cut where nothing follows."""
        end = len(self._text)
        for stop in self.stop_strings:
            for held in range(min(len(stop) - 1, len(self._text)), 0, -1):
                if self._text.endswith(stop[:held]):
                    end = min(end, len(self._text) - held)
                    break
        end = len(self._text[:end].rstrip())
        if end <= self._sent_chars:
            return None
        piece = AnswerPiece(
            self._text[self._sent_chars : end], tuple(token for start, token in self._pending if start < end)
        )
        self._pending = self._pending[len(piece.tokens) :]
        self._sent_chars = end
        return piece
