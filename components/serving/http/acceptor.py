"""Accept connections: within the limits, with a deadline for TLS's handshake, and slowly when files run out.

asyncio's own servers accept without a limit. Where a process has no file left, they try 2,048 times at once and log
each time. Connections of an address that opens many and sends no requests wait in a line before anything is made for
them. Knows sockets and the table of connections; does not know HTTP, except for one answer when there is no room.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from components.config.serve import ServeConfig
from components.serving.errors import LOGGER_NAME
from components.serving.http.connection_table import ConnectionTable, to_group
from components.serving.http.opening_line import OpeningLine
from components.serving.http.opening_pace import OpeningPace
from components.serving.http.protocol import DeadlineProtocol

_NO_RESOURCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RETRY_SECONDS = 1.0
_LINE_SECONDS = 0.02
"""Between two looks at the connections in the line."""
_LINED_UP_SECONDS = 0.001
"""Pause after a connection was put into the line: it may have pushed another one out, whose client is back at once."""
_NO_ROOM = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_log = logging.getLogger(f"{LOGGER_NAME}.connections")


class Acceptor:
    """Accepts connections from one listening socket."""

    def __init__(
        self,
        table: ConnectionTable,
        limits: ServeConfig,
        pace: OpeningPace,
        make_protocol: Callable[[str], DeadlineProtocol],
    ) -> None:
        """`make_protocol` returns the protocol of a connection from an address."""
        self._table, self._limits, self._pace, self._make_protocol = table, limits, pace, make_protocol
        self._openings: set[asyncio.Task[None]] = set()
        self._line = OpeningLine(pace)

    async def run_forever(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Accept until cancelled."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        opening_line = asyncio.create_task(self._open_line_forever(tls))
        try:
            while True:
                try:
                    client, peer = await loop.sock_accept(listener)
                except OSError as problem:
                    if problem.errno in _NO_RESOURCE:
                        _log.warning("cannot accept connections (%s): waiting", problem.strerror)
                    await asyncio.sleep(_RETRY_SECONDS if problem.errno in _NO_RESOURCE else 0)
                    continue
                await self._admit_or_line_up(client, peer[0] if peer else "", tls)
        finally:
            opening_line.cancel()
            self._line.close()

    async def _admit_or_line_up(self, client: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        group = to_group(address)
        if not self._line.has_any(group) and self._pace.take(group):
            await self._admit(client, address, tls)
        else:
            self._line.add(client, address)
            await asyncio.sleep(_LINED_UP_SECONDS)

    async def _open_line_forever(self, tls: ssl.SSLContext | None) -> None:
        while True:
            await asyncio.sleep(_LINE_SECONDS)
            for client, address in self._line.take(is_plain=tls is None):
                await self._admit(client, address, tls)

    async def _admit(self, client: socket.socket, address: str, tls: ssl.SSLContext | None) -> None:
        if reached := self._table.make_room(to_group(address)):
            _log.warning("a connection is refused: %s is reached, and no connection is idle", reached)
            with client, suppress(OSError):
                if tls is None:
                    client.send(_NO_ROOM)
            return
        protocol = self._make_protocol(address)
        opening = asyncio.create_task(self._open(client, protocol, tls))
        self._openings.add(opening)
        protocol.opening = opening
        opening.add_done_callback(self._openings.discard)
        await asyncio.sleep(0)  # the opening must begin before it can be cancelled, or its socket would stay open

    async def _open(self, client: socket.socket, protocol: DeadlineProtocol, tls: ssl.SSLContext | None) -> None:
        seconds = self._limits.tls_handshake_seconds if tls else None
        try:
            # asyncio sets it only on sockets that were made with the number of TCP; without it answers wait 40 ms
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, client, ssl=tls, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=seconds
            )
        except OSError:  # the client left, or its handshake failed or was too slow
            pass
        finally:
            protocol.opening = None
            if protocol.transport is None:
                self._table.remove(protocol)
