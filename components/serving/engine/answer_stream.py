"""One row's answer on its way from the model thread to the event loop that reads it.

Knows threads and event loops; does not know models or queues.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from components.serving.engine.row_trace import RowTrace
from components.serving.interface import AnswerPiece

AnswerEvent = AnswerPiece | Exception


class EngineAnswerStream:
    """See `components.serving.interface.AnswerStream`; create it inside the event loop that reads it."""

    def __init__(self, prompt_tokens: int, on_cancel: Callable[[], None]) -> None:
        """`on_cancel` is called once, from any thread, when this sequence is cancelled."""
        self.prompt_tokens = prompt_tokens
        self.loop = asyncio.get_running_loop()
        self.cancelled = False
        self.trace: RowTrace | None = None
        """None: its request is not traced."""
        self._on_cancel = on_cancel
        self._events: asyncio.Queue[AnswerEvent | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[AnswerPiece]:
        """See `AnswerStream.__aiter__`; iterate once. A cancelled stream ends without a finish reason."""
        ended = False
        try:
            while not ended:
                event = await self._events.get()
                if event is None:
                    return
                ended = isinstance(event, Exception) or event.finish is not None
                if ended and self.trace is not None:
                    _record_end(self.trace, event)
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            if not ended:
                self.cancel()

    def cancel(self) -> None:
        """See `AnswerStream.cancel`."""
        if not self.cancelled:
            self.cancelled = True
            self._on_cancel()
            if self.trace is not None:
                self.trace.record("cancelled")
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._events.put_nowait, None)

    def put_event(self, event: AnswerEvent) -> None:
        """Add an event for the reader; call it inside the event loop."""
        self._events.put_nowait(event)


def deliver_events(events: Sequence[tuple[EngineAnswerStream, AnswerEvent]]) -> None:
    """Send each event to its stream, with one call per event loop; a stream whose loop is closed is cancelled."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[EngineAnswerStream, AnswerEvent]]] = {}
    for stream, event in events:
        by_loop.setdefault(stream.loop, []).append((stream, event))
    for loop, own_events in by_loop.items():
        try:
            loop.call_soon_threadsafe(_put_events, own_events)
        except RuntimeError:
            for stream, _ in own_events:
                stream.cancel()


def _record_end(trace: RowTrace, event: AnswerEvent) -> None:
    if isinstance(event, Exception):
        trace.record("failed", event)
    elif event.finish is not None:
        trace.record(event.finish)


def _put_events(events: Sequence[tuple[EngineAnswerStream, AnswerEvent]]) -> None:
    for stream, event in events:
        stream.put_event(event)
