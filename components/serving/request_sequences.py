"""The rows of one request on their way through the engine. Knows engine and rows; no HTTP and no tenant."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from components.serving.interface import AnswerPiece, AnswerStream, Engine, FinishReason, GenerationRequest


@dataclass(slots=True)
class SequenceResult:
    """What one row has said so far."""

    request: GenerationRequest
    text: str = ""
    token_count: int = 0
    finish: FinishReason | None = None
    seconds: float = 0.0
    """From its submission to its end."""


class RequestSequences:
    """All rows of a request, in their order; `async with` cancels those that have not ended when it is left."""

    def __init__(self, requests: Sequence[GenerationRequest]) -> None:
        self.results = [SequenceResult(request) for request in requests]
        self._streams: list[AnswerStream] = []
        self._started_s = time.monotonic()

    async def __aenter__(self) -> "RequestSequences":
        return self

    async def __aexit__(self, *_problem: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Let every row leave the batch."""
        for answer in self._streams:
            answer.cancel()

    async def submit(self, engine: Engine) -> None:
        """Queue them all, or none. Raises what `Engine.submit` raises."""
        self._started_s = time.monotonic()
        try:
            for row in self.results:
                self._streams.append(await engine.submit(row.request))
        except BaseException:
            self.cancel()
            self._streams.clear()
            raise

    async def stream_pieces(self) -> AsyncIterator[tuple[int, AnswerPiece]]:
        """(number of the row, piece) as they come, until every row has ended. Raises what ended a row in trouble."""
        queue: asyncio.Queue[tuple[int, AnswerPiece] | Exception | None] = asyncio.Queue()
        readers = [asyncio.create_task(_forward_pieces(number, one, queue)) for number, one in enumerate(self._streams)]
        left = len(readers)
        try:
            while left:
                came = await queue.get()
                if isinstance(came, Exception):
                    raise came
                if came is None:
                    left -= 1
                    continue
                self._record_piece(*came)
                yield came
        finally:
            for reader in readers:
                reader.cancel()
            self.cancel()

    def _record_piece(self, number: int, piece: AnswerPiece) -> None:
        row = self.results[number]
        row.text += piece.text
        row.token_count += len(piece.tokens)
        if piece.finish is not None:
            row.finish, row.seconds = piece.finish, time.monotonic() - self._started_s

    def count_prompt_tokens(self, samples_per_prompt: int) -> int:
        """Tokens read; the `samples_per_prompt` answers to one prompt count it once."""
        return sum(answer.prompt_tokens for answer in self._streams[::samples_per_prompt])

    @property
    def completion_tokens(self) -> int:
        """Tokens written so far."""
        return sum(row.token_count for row in self.results)


async def _forward_pieces(
    number: int, answer: AnswerStream, queue: "asyncio.Queue[tuple[int, AnswerPiece] | Exception | None]"
) -> None:
    try:
        async for piece in answer:
            queue.put_nowait((number, piece))
    except Exception as problem:  # noqa: BLE001 - raised again where the pieces are read
        queue.put_nowait(problem)
    else:
        queue.put_nowait(None)
