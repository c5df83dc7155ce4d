"""One row on its way through a remote engine: its tokens become text here, and stop strings end it here.

Knows requests, tokens and streams; does not know HTTP.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from components.serving.engine.answer_stream import EngineAnswerStream
from components.serving.engine.detokenizer import IncrementalDetokenizer
from components.serving.interface import AnswerPiece
from components.serving.remote.reply_events import ReplyEvent, ReplyToken
from components.serving.remote.server_errors import BrokenReplyError


@dataclass(slots=True)
class RemoteRow:
    """One row; `run` once."""

    stream: EngineAnswerStream
    detokenizer: IncrementalDetokenizer
    stop_ids: Sequence[int]
    open_reply: Callable[[], AsyncGenerator[ReplyEvent]]
    """Asks an engine, and returns its events."""

    async def run(self) -> None:
        """Read the engine's answer until the row ends; what goes wrong is the stream's to raise."""
        try:
            async with aclosing(self._read_pieces()) as pieces:
                async for piece in pieces:
                    self.stream.put_event(piece)
        except Exception as problem:  # noqa: BLE001 - raised again where the answer is read
            self.stream.put_event(problem)

    async def _read_pieces(self) -> AsyncGenerator[AnswerPiece]:
        async with aclosing(self.open_reply()) as reply:
            async for event in reply:
                for token in event.tokens:
                    piece = self._add(token)
                    if piece is not None:
                        yield piece
                        if piece.finish:
                            return
                if event.finish in ("stop", "length"):
                    yield self.detokenizer.finish("length" if event.finish == "length" else "stop")
                    return
                if event.finish is not None:
                    raise BrokenReplyError(f"an answer that ended with {event.finish!r}")
        raise BrokenReplyError("an answer that ended without a reason")

    def _add(self, token: ReplyToken) -> AnswerPiece | None:
        if token.token_id in self.stop_ids:
            return self.detokenizer.finish("stop")
        return self.detokenizer.add_token(token.token_id, token.logprob, token.alternatives)
