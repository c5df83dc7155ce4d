"""One row's answer on its way from the model thread to the event loop that reads it.

Knows threads and event loops; does not know models or queues.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

from components.serving.engine.row_trace import RowTrace
from components.serving.interface import AnswerPiece

AnswerEvent = AnswerPiece | Exception
_HELD_EVENTS = 15
"""Events that wait for a later one, of an answer that is not streamed."""


class EngineAnswerStream:
    """See `components.serving.interface.AnswerStream`; create it inside the event loop that reads it."""

    def __init__(self, prompt_tokens: int, on_cancel: Callable[[], None], *, is_streamed: bool = True) -> None:
        """`on_cancel` is called once, from any thread, when this sequence is cancelled.

        `is_streamed`: see `GenerationRequest.is_streamed`.
        """
        self.prompt_tokens, self.completion_tokens = prompt_tokens, 0
        self.loop = asyncio.get_running_loop()
        self.cancelled = False
        self.trace: RowTrace | None = None
        """None: its request is not traced."""
        self._on_cancel, self._most_held = on_cancel, _HELD_EVENTS if not is_streamed else 0
        self._held: list[AnswerEvent] = []
        """Events that are delivered with a later one; for the model thread alone."""
        self.was_delivered = False
        """Whether its first event was."""
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

    def take_ready(self, event: AnswerEvent) -> list[AnswerEvent]:
        """Return the events to deliver now that `event` has come; call it from the model thread.

        Without a reader that shows every piece, waking it for each would take the model's time.
        """
        self._held.append(event)
        is_end = isinstance(event, Exception) or event.finish is not None
        if self.was_delivered and not is_end and len(self._held) <= self._most_held:
            return []
        ready, self._held, self.was_delivered = self._held, [], True
        return ready

    def put_event(self, event: AnswerEvent) -> None:
        """Add an event for the reader; call it inside the event loop."""
        self._events.put_nowait(event)


def deliver_events(events: Sequence[tuple[EngineAnswerStream, AnswerEvent]]) -> None:
    """Send the events that are ready to their streams, with one call for each event loop.

    A stream whose loop is closed is cancelled.
    """
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[EngineAnswerStream, AnswerEvent]]] = {}
    for stream, event in events:
        for ready in stream.take_ready(event):
            by_loop.setdefault(stream.loop, []).append((stream, ready))
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
