"""Accepted connections that wait to be opened, since their addresses have opened many that sent no request.

A connection on which a whole request waits comes first. Nothing is made for a connection while it waits. Knows sockets
and the pace of addresses; knows of HTTP only where a request ends.
"""

import re
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from components.serving.http.connection_table import to_group
from components.serving.http.opening_pace import OpeningPace

_MAX_WAITING = 128
"""Beyond it the one that has waited longest, of the address with most of them, is closed."""
_PEEK_BYTES = 16 * 1024
_CONTENT_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


class OpeningLine:
    """The connections of one listening socket that wait."""

    def __init__(self, pace: OpeningPace) -> None:
        """Start empty."""
        self._pace = pace
        self._waiting: dict[str, deque[tuple[socket.socket, str]]] = {}
        """Group of addresses -> its connections, with their addresses."""

    def has_any(self, group: str) -> bool:
        """Return whether a connection of the group waits."""
        return group in self._waiting

    def add(self, client: socket.socket, address: str) -> None:
        """Add a connection at the end."""
        self._waiting.setdefault(to_group(address), deque()).append((client, address))
        if sum(map(len, self._waiting.values())) > _MAX_WAITING:
            group = max(self._waiting, key=lambda name: len(self._waiting[name]))
            self._waiting[group].popleft()[0].close()
            self._remove_empty(group)

    def take(self, *, is_plain: bool) -> Iterator[tuple[socket.socket, str]]:
        """Remove and yield the connections that may be opened now; `is_plain`: their requests are not encrypted.

        Others may be added meanwhile.
        """
        for group in list(self._waiting):
            line = self._waiting.get(group, deque())
            requests = [one for one in line if is_plain and _holds_request(_peek(one[0]))]
            for chosen, may_borrow in ((requests, True), (list(line), False)):
                for one in chosen:
                    if one in line and self._pace.take(group, may_borrow=may_borrow):
                        line.remove(one)
                        yield one
            self._remove_empty(group)

    def close(self) -> None:
        """Close all connections that wait."""
        for line in self._waiting.values():
            for client, _ in line:
                client.close()
        self._waiting.clear()

    def _remove_empty(self, group: str) -> None:
        if not self._waiting.get(group):
            self._waiting.pop(group, None)


def _peek(client: socket.socket) -> bytes:
    """Return what has arrived, without reading it."""
    with suppress(OSError):
        return client.recv(_PEEK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return b""


def _holds_request(content: bytes) -> bool:
    """Return whether this looks like a whole request, or as much of one as is looked at."""
    header, end, body = content.partition(b"\r\n\r\n")
    length = _CONTENT_LENGTH.search(header)
    if length is None:
        return bool(end) and (b"chunked" not in header.lower() or body.endswith(b"0\r\n\r\n"))
    return bool(end) and (len(body) >= int(length[1]) or len(content) == _PEEK_BYTES)
