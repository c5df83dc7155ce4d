"""The rows of one request on their way through the engine. Knows engine and rows; no HTTP and no tenant."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from components.serving.interface import Answer, Engine, Finish, Piece, Request


@dataclass(slots=True)
class Row:
    """What one row has said so far."""

    request: Request
    text: str = ""
    tokens: int = 0
    finish: Finish | None = None
    seconds: float = 0.0
    """From its submission to its end."""


class Rows:
    """All rows of a request, in their order; `async with` cancels those that have not ended when it is left."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.rows = [Row(request) for request in requests]
        self._answers: list[Answer] = []
        self._started_s = time.monotonic()

    async def __aenter__(self) -> "Rows":
        return self

    async def __aexit__(self, *_problem: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Let every row leave the batch."""
        for answer in self._answers:
            answer.cancel()

    async def submit(self, engine: Engine) -> None:
        """Queue them all, or none. Raises what `Engine.submit` raises."""
        self._started_s = time.monotonic()
        try:
            for row in self.rows:
                self._answers.append(await engine.submit(row.request))
        except BaseException:
            self.cancel()
            self._answers.clear()
            raise

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """(number of the row, piece) as they come, until every row has ended. Raises what ended a row in trouble."""
        queue: asyncio.Queue[tuple[int, Piece] | Exception | None] = asyncio.Queue()
        readers = [asyncio.create_task(_read(number, one, queue)) for number, one in enumerate(self._answers)]
        left = len(readers)
        try:
            while left:
                came = await queue.get()
                if isinstance(came, Exception):
                    raise came
                if came is None:
                    left -= 1
                    continue
                self._note(*came)
                yield came
        finally:
            for reader in readers:
                reader.cancel()
            self.cancel()

    def _note(self, number: int, piece: Piece) -> None:
        row = self.rows[number]
        row.text += piece.text
        row.tokens += len(piece.tokens)
        if piece.finish is not None:
            row.finish, row.seconds = piece.finish, time.monotonic() - self._started_s

    def prompt_tokens(self, draws: int) -> int:
        """Tokens read; the `draws` answers to one prompt count it once."""
        return sum(answer.prompt_tokens for answer in self._answers[::draws])

    @property
    def completion_tokens(self) -> int:
        """Tokens written so far."""
        return sum(row.tokens for row in self.rows)


async def _read(number: int, answer: Answer, queue: "asyncio.Queue[tuple[int, Piece] | Exception | None]") -> None:
    try:
        async for piece in answer:
            queue.put_nowait((number, piece))
    except Exception as problem:  # noqa: BLE001 - raised again where the pieces are read
        queue.put_nowait(problem)
    else:
        queue.put_nowait(None)
