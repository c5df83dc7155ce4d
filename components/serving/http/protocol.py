"""HTTP/1.1 on one connection, with a deadline for whatever the client has to send or to read.

Uvicorn's protocol has no deadline for a header, a body, or a client that does not read. Knows uvicorn and h11; does not
know the application.
"""

import asyncio
import json
import time
from contextlib import suppress
from enum import Enum, auto
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from components.config.serve import ServeConfig
from components.serving.errors import RefusalError, make_error_body
from components.serving.http.answer_pace import AnswerPace
from components.serving.http.connection_table import ConnectionTable, to_group
from components.serving.http.opening_pace import OpeningPace

MAX_SMALL_PIECES = 2_000
"""Chunks, or parts as the network delivers them, of one request's body: each takes about 10 us of the event loop."""
_SMALL_BYTES = 64
"""More pieces than that are read only if they have as many bytes on average."""
_MAX_HEADER_BYTES = 16 * 1024
WRITE_PROGRESS_BYTES = 48 * 1024
"""The client must read so much in `serve.write_seconds`: what asyncio keeps between its two marks of a full buffer."""


class Phase(Enum):
    """What a connection waits for."""

    OPEN = auto()
    """The end of TLS's handshake."""
    HEADER = auto()
    BODY = auto()
    ANSWER = auto()
    """The server's answer."""
    IDLE = auto()
    """The next request."""


class PieceLimitConnection(h11.Connection):
    """h11's parser; a body in too many pieces is an error of the client."""

    _piece_count = _byte_count = 0

    def next_event(self) -> Any:
        """Return the next event. Raises h11.RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._piece_count = self._byte_count = 0
        elif isinstance(event, h11.Data):
            self._piece_count += 1
            self._byte_count += len(event.data)
            if self._piece_count > max(MAX_SMALL_PIECES, self._byte_count / _SMALL_BYTES):
                raise h11.RemoteProtocolError("too many small pieces of a body")
        return event


class DeadlineProtocol(H11Protocol, asyncio.BufferedProtocol):
    """One connection. Call `enforce_deadlines` about twice a second.

    It reads at most 16 KiB before other connections have their turn; h11 alone limits only headers that are not whole.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        limits: ServeConfig,
        table: ConnectionTable,
        opening_pace: OpeningPace,
        invalid_http_pace: AnswerPace,
        address: str,
    ) -> None:
        """Count the connection in `table` until it ends; `address` is the client's.

        The first whole request gives back what the connection took of `opening_pace`. `invalid_http_pace` delays
        the refusals of what is not HTTP.
        """
        super().__init__(config, server_state, app_state)
        self.conn = PieceLimitConnection(h11.SERVER, _MAX_HEADER_BYTES)
        self.group = to_group(address)
        self._limits, self._table, self._buffer = limits, table, bytearray(_MAX_HEADER_BYTES)
        self._opening_pace, self._invalid_http_pace = opening_pace, invalid_http_pace
        self._has_sent_request = False
        self._phase, self._since_s = Phase.OPEN, time.monotonic()
        self.opening: asyncio.Task[None] | None = None
        """The task that opens the connection, with TLS's handshake; None: it has ended."""
        self._unread: tuple[float, int] | None = None
        """When the client was last seen to read, and how many bytes waited for it; None: nothing waits."""
        table.add(self)

    @property
    def waiting_since_s(self) -> float | None:
        """See `Connection.waiting_since_s`."""
        return None if self._phase is Phase.ANSWER else self._since_s

    def connection_made(self, transport: Any) -> None:
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._enter(Phase.HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
        self._table.remove(self)
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002
        """Return where asyncio writes what it reads."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read so many bytes of the buffer."""
        self.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        if self._phase is Phase.IDLE:
            self._enter(Phase.HEADER)
        super().data_received(data)
        self._follow_parser()

    def on_response_complete(self) -> None:
        """Wait for the next request; close the connection if the client has not sent all of this one."""
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()
            return
        self._enter(Phase.HEADER if self.conn.trailing_data[0] else Phase.IDLE)
        super().on_response_complete()
        self._follow_parser()

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._unread = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, if no answer has begun, and close the connection.

        Beyond the pace of the address's refusals this is done later; until then nothing more is read.
        """
        refusal = RefusalError(400, "a request of HTTP/1.1", msg, "correct the client", code="invalid_http")
        can_be_answered = self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        delay_s = self._invalid_http_pace.reserve(self.group) if can_be_answered else 0.0
        if delay_s:
            self.transport.pause_reading()
            self.loop.call_later(delay_s, self._refuse, refusal)
        else:
            self._refuse(refusal)

    def _should_upgrade(self) -> bool:
        return False  # any client may ask for it; Uvicorn would log to install a library for it

    def enforce_deadlines(self, now_s: float) -> None:
        """Close the connection if the client is too slow; `now_s` is time.monotonic()."""
        if self.transport is None:  # asyncio has a deadline of its own for the handshake
            return
        if self._is_too_slow_to_read(now_s):
            self.transport.abort()
        elif self.flow.read_paused:
            self._since_s = now_s
        elif self._phase is Phase.HEADER and now_s - self._since_s > self._limits.header_seconds:
            self._expire("header", self._limits.header_seconds)
        elif self._phase is Phase.BODY and now_s - self._since_s > self._limits.body_seconds:
            self._expire("body", self._limits.body_seconds)

    def abort(self) -> None:
        """See `Connection.abort`."""
        if self.transport is not None:
            self.transport.abort()
        elif self.opening is not None:
            self.opening.cancel()

    def _follow_parser(self) -> None:
        """Set the phase that the parser's state shows."""
        if self.conn.their_state is h11.SEND_BODY:
            self._enter(Phase.BODY)
        elif self.conn.their_state not in (h11.IDLE, h11.ERROR):
            self._enter(Phase.ANSWER)
            if not self._has_sent_request:
                self._has_sent_request = True
                self._opening_pace.give_back(self.group)

    def _enter(self, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase, self._since_s = phase, time.monotonic()

    def _is_too_slow_to_read(self, now_s: float) -> bool:
        size = self.transport.get_write_buffer_size()
        if not size:
            self._unread = None
            return False
        since_s, old_size = self._unread or (now_s, size)
        if old_size - size >= WRITE_PROGRESS_BYTES:
            since_s, old_size = now_s, size
        self._unread = since_s, old_size
        return now_s - since_s > self._limits.write_seconds

    def _expire(self, part: str, seconds: float) -> None:
        if part == "header" and not self.conn.trailing_data[0]:
            self.transport.close()
            return
        wanted, got = f"the whole {part} within {seconds:g} s", f"a part of the {part}"
        fix = f"send it faster, or let the operator raise serve.{part}_seconds"
        self._refuse(RefusalError(408, wanted, got, fix, code="timeout"))

    def _refuse(self, refusal: RefusalError) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            content = json.dumps(make_error_body(refusal)).encode()
            headers = [("content-type", "application/json"), ("content-length", str(len(content)))]
            response = h11.Response(status_code=refusal.status, headers=[*headers, ("connection", "close")])
            with suppress(h11.LocalProtocolError):
                for event in (response, h11.Data(data=content), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
