"""One row on its way through a remote engine: its tokens become text here, and stop strings end it here.

If the engine stops answering after some tokens, another one is asked for the rest.

Knows requests, tokens and streams; does not know HTTP.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from components.serving.engine.answer_stream import EngineAnswerStream
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.interface import AnswerPiece
from components.serving.remote.reply_events import ReplyEvent, ReplyToken
from components.serving.remote.server_errors import BrokenReplyError, ServerDownError


@dataclass(slots=True)
class RemoteRow:
    """One row; `run` once."""

    stream: EngineAnswerStream
    detokenizer: IncrementalDetokenizer
    stop_ids: Sequence[int]
    limit: int
    """The most tokens of the answer."""
    open_reply: Callable[[Sequence[int]], AsyncGenerator[ReplyEvent]]
    """Asks an engine for what follows the answer's first tokens, and returns its events."""
    known: list[int] = field(default_factory=list)
    """The answer's tokens so far."""

    async def run(self) -> None:
        """Read the engine's answer until the row ends; what goes wrong is the stream's to raise."""
        try:
            async with aclosing(self._read_pieces()) as pieces:
                async for piece in pieces:
                    self.stream.put_event(piece)
        except Exception as problem:  # noqa: BLE001 - raised again where the answer is read
            self.stream.put_event(problem)

    async def _read_pieces(self) -> AsyncGenerator[AnswerPiece]:
        while len(self.known) < self.limit:
            count = len(self.known)
            try:
                async with aclosing(self._read_reply()) as pieces:
                    async for piece in pieces:
                        yield piece
            except ServerDownError:
                if len(self.known) == count:
                    raise  # no engine is left to ask
            else:
                return
        yield self.detokenizer.finish("length")

    async def _read_reply(self) -> AsyncGenerator[AnswerPiece]:
        async with aclosing(self.open_reply(tuple(self.known))) as reply:
            async for event in reply:
                for token in event.tokens:
                    self.known.append(token.token_id)
                    piece = self._add(token)
                    self.stream.completion_tokens = self.detokenizer.answer_tokens
                    if piece is not None:
                        yield piece
                        if piece.finish:
                            return
                if event.finish in ("stop", "length"):
                    yield self.detokenizer.finish("length" if event.finish == "length" else "stop")
                    return
                if event.finish == "abort":
                    raise ServerDownError("an engine that aborted the answer")
                if event.finish is not None:
                    raise BrokenReplyError(f"an answer that ended with {event.finish!r}")
        raise ServerDownError("an answer that ended without a reason")

    def _add(self, token: ReplyToken) -> AnswerPiece | None:
        if token.token_id in self.stop_ids:
            return self.detokenizer.finish("stop")
        return self.detokenizer.add_token(token.token_id, token.logprob, token.alternatives)
