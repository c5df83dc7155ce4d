"""Receive a request's body: at most a number of bytes, and what is left of it before a refusal is sent.

Knows ASGI's messages; does not know the service.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from components.serving.errors import RefusalError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_DISCARD_SECONDS = 2.0


class BodyReader:
    """ASGI's `receive` of one request."""

    def __init__(self, receive: Receive, max_bytes: int, *, has_body: bool, on_complete: Callable[[], None]) -> None:
        """`on_complete` is called once the whole request has arrived: now, if it has no body."""
        self._receive, self._max_bytes, self._on_complete = receive, max_bytes, on_complete
        self._size = 0
        self.is_complete = False
        if not has_body:
            self._complete()

    async def __call__(self) -> Message:
        """Return the next message.

        Raises:
            RefusalError: 413, the body is too large; 408, it ended early.
        """
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            check_size(self._size, self._max_bytes)
            if not message.get("more_body", False) and not self.is_complete:
                self._complete()
        elif not self.is_complete:
            raise RefusalError(408, "a whole body", "a part of it", "send all of it", code="timeout")
        return message

    async def discard(self) -> None:
        """Read the rest of the body for up to 2 s: if unread bytes are left, the client may not see the response."""
        with suppress(RefusalError, TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while not self.is_complete and self._size <= self._max_bytes:
                    await self()

    def _complete(self) -> None:
        self.is_complete = True
        self._on_complete()


def check_size(size: int, max_bytes: int) -> None:
    """Refuse a body of more bytes. Raises RefusalError: 413."""
    if size > max_bytes:
        raise RefusalError(
            413, f"a body of at most {max_bytes} bytes", f"{size} bytes or more", "send less", code="too_large"
        )
