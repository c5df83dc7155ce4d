"""One row's answer on its way from the model's thread to the event loop that asked.

Knows threads and event loops; does not know models or queues.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from components.serving.interface import AnswerPiece

AnswerEvent = AnswerPiece | Exception


class EngineAnswerStream:
    """See `components.serving.interface.Answer`; made inside the event loop that reads it."""

    def __init__(self, prompt_tokens: int, on_cancel: Callable[[], None]) -> None:
        """`on_cancel` is called once, from any thread, when nobody wants the row any more."""
        self.prompt_tokens = prompt_tokens
        self.loop = asyncio.get_running_loop()
        self.cancelled = False
        self._on_cancel = on_cancel
        self._events: asyncio.Queue[AnswerEvent | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[AnswerPiece]:
        """See `Answer.__aiter__`; to be iterated once. A cancelled answer ends without a finish."""
        ended = False
        try:
            while not ended:
                news = await self._events.get()
                if news is None:
                    return
                ended = isinstance(news, Exception) or news.finish is not None
                if isinstance(news, Exception):
                    raise news
                yield news
        finally:
            if not ended:
                self.cancel()

    def cancel(self) -> None:
        """See `Answer.cancel`."""
        if not self.cancelled:
            self.cancelled = True
            self._on_cancel()
            with suppress(RuntimeError):  # the loop is closed: nobody reads
                self.loop.call_soon_threadsafe(self._events.put_nowait, None)

    def put_event(self, event: AnswerEvent) -> None:
        """Take news in; inside the event loop."""
        self._events.put_nowait(event)


def deliver_events(events: Sequence[tuple[EngineAnswerStream, AnswerEvent]]) -> None:
    """Let every answer hear its news, with one call a loop; an answer whose loop is closed is cancelled."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[EngineAnswerStream, AnswerEvent]]] = {}
    for answer, one in events:
        loops.setdefault(answer.loop, []).append((answer, one))
    for loop, heard in loops.items():
        try:
            loop.call_soon_threadsafe(_put_events, heard)
        except RuntimeError:
            for answer, _ in heard:
                answer.cancel()


def _put_events(heard: Sequence[tuple[EngineAnswerStream, AnswerEvent]]) -> None:
    for answer, news in heard:
        answer.put_event(news)
