"""A row's text as it comes: what is certain goes out, what a stop string could still take back waits.

The pieces joined are what `components.model.text.texts.Texts.text` makes of the row's ids, cut before the first stop
string.
Knows a tokenizer's `decode`; does not know models or requests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from components.serving.interface import Finish, Piece, Token

_BROKEN = "\ufffd"
"""What the bytes of half a character decode to."""


@dataclass(slots=True)
class Writing:
    """One row's ids and text so far."""

    decode: Callable[[Sequence[int]], str]
    stop: tuple[str, ...] = ()
    ids: list[int] = field(default_factory=list)
    _text: str = ""
    """Without the spaces at its start."""
    _sent: int = 0
    _settled: int = 0
    """The text holds so many ids."""
    _context: int = 0
    """Ids are decoded from here on, since what one decodes to may depend on the one before."""
    _waiting: list[tuple[int, Token]] = field(default_factory=list)
    """Tokens that are not out, with where their text starts."""

    def add(self, token: int, logprob: float | None = None, others: Sequence[tuple[int, float]] = ()) -> Piece | None:
        """Take a new token in; returns what is certain now, with the finish "stop" where a stop string came."""
        start = len(self._text)
        self.ids.append(token)
        likely = tuple((self.decode([other]), value) for other, value in others)
        self._waiting.append((start, Token(self.decode([token]), logprob, likely)))
        more = self._news()
        if not more or more.endswith(_BROKEN):
            return None
        self._context, self._settled = self._settled, len(self.ids)
        self._text = self._text + more if self._text else more.lstrip()
        return self._stopped(start) or self._certain()

    def end(self, finish: Finish) -> Piece:
        """The rest, without the spaces at its end."""
        start = len(self._text)
        more = self._news()
        self._text = self._text + more if self._text else more.lstrip()
        if (piece := self._stopped(start)) is not None:
            return piece
        text = self._text[self._sent :].rstrip()
        return Piece(text, tuple(token for _, token in self._waiting), finish)

    def _news(self) -> str:
        known = self.decode(self.ids[self._context : self._settled])
        return self.decode(self.ids[self._context :])[len(known) :]

    def _stopped(self, start: int) -> Piece | None:
        """What is left before a stop string that the text from `start` on completes."""
        longest = max(map(len, self.stop), default=0)
        places = [self._text.find(stop, max(start - longest + 1, 0)) for stop in self.stop]
        found = [place for place in places if place >= 0]
        if not found:
            return None
        kept = self._text[: min(found)].rstrip()
        tokens = tuple(token for start, token in self._waiting if start < len(kept))
        return Piece(kept[self._sent :], tokens, "stop")

    def _certain(self) -> Piece | None:
        """What no stop string can begin in; spaces wait too, since they are cut where nothing follows."""
        end = len(self._text)
        for stop in self.stop:
            for held in range(min(len(stop) - 1, len(self._text)), 0, -1):
                if self._text.endswith(stop[:held]):
                    end = min(end, len(self._text) - held)
                    break
        end = len(self._text[:end].rstrip())
        if end <= self._sent:
            return None
        piece = Piece(self._text[self._sent : end], tuple(token for start, token in self._waiting if start < end))
        self._waiting = self._waiting[len(piece.tokens) :]
        self._sent = end
        return piece
