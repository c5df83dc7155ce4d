"""Run all rows of one request through the engine. Knows the engine and rows; does not know HTTP or tenants."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from components.serving.interface import AnswerPiece, AnswerStream, Engine, FinishReason, GenerationRequest

_MOST_TOGETHER = 64
"""Pieces that are yielded together: a client that reads slowly must not get all that waits for it in one part."""


@dataclass(slots=True)
class SequenceResult:
    """The answer to one row so far."""

    request: GenerationRequest
    text: str = ""
    token_count: int = 0
    """Tokens of the pieces that were read."""
    finish: FinishReason | None = None
    """None: the row has not ended."""
    seconds: float = 0.0
    """From the submission of the request to the end of the row."""


class RequestSequences:
    """All rows of a request, in order; leaving its `async with` block cancels the rows that have not ended."""

    def __init__(self, requests: Sequence[GenerationRequest]) -> None:
        self.results = [SequenceResult(request) for request in requests]
        self._streams: list[AnswerStream] = []
        self._started_s = time.monotonic()

    async def __aenter__(self) -> "RequestSequences":
        return self

    async def __aexit__(self, *_problem: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Cancel all rows."""
        for stream in self._streams:
            stream.cancel()

    async def submit(self, engine: Engine) -> None:
        """Queue all rows, or none if one is refused. Raises what `Engine.submit` raises."""
        self._started_s = time.monotonic()
        self._streams = list(await engine.submit([result.request for result in self.results]))

    async def stream_pieces(self) -> AsyncIterator[list[tuple[int, AnswerPiece]]]:
        """Yield (number of the row, piece) in order of arrival until all rows have ended. Raises a row's error.

        The pieces that have arrived together, as those of a step do, are yielded together.
        """
        queue: asyncio.Queue[tuple[int, AnswerPiece] | Exception | None] = asyncio.Queue()
        readers = [
            asyncio.create_task(_forward_pieces(number, stream, queue)) for number, stream in enumerate(self._streams)
        ]
        unfinished = len(readers)
        try:
            while unfinished:
                if not queue.empty():  # else a long line of pieces would keep the event loop from all others
                    await asyncio.sleep(0)
                events = [await queue.get()]
                while not queue.empty() and len(events) < _MOST_TOGETHER:
                    events.append(queue.get_nowait())
                pieces = [event for event in events if isinstance(event, tuple)]
                for piece in pieces:
                    self._record_piece(*piece)
                if pieces:
                    yield pieces
                for event in events:
                    if isinstance(event, Exception):
                        raise event
                unfinished -= events.count(None)
        finally:
            for reader in readers:
                reader.cancel()
            self.cancel()

    def _record_piece(self, number: int, piece: AnswerPiece) -> None:
        result = self.results[number]
        result.text += piece.text
        result.token_count += len(piece.tokens)
        if piece.finish is not None:
            result.finish, result.seconds = piece.finish, time.monotonic() - self._started_s

    def count_prompt_tokens(self, samples_per_prompt: int) -> int:
        """Return the number of prompt tokens; a prompt counts once for its `samples_per_prompt` rows."""
        return sum(stream.prompt_tokens for stream in self._streams[::samples_per_prompt])

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far, read or not."""
        return sum(stream.completion_tokens for stream in self._streams)


async def _forward_pieces(
    number: int, stream: AnswerStream, queue: "asyncio.Queue[tuple[int, AnswerPiece] | Exception | None]"
) -> None:
    try:
        async for piece in stream:
            queue.put_nowait((number, piece))
    except Exception as problem:  # noqa: BLE001 - raised again where the pieces are read
        queue.put_nowait(problem)
    else:
        queue.put_nowait(None)
