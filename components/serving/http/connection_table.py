"""The open connections of a server, counted in all and by address, with a limit for both.

Knows addresses and times; does not know sockets or HTTP.
"""

import ipaddress
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

_IPV6_NETWORK_BITS = 64
"""One client usually has a whole IPv6 network of this size."""


class Connection(Protocol):
    """An open connection."""

    @property
    def group(self) -> str:
        """The address, or the IPv6 network, that it is counted under."""

    @property
    def waiting_since_s(self) -> float | None:
        """Since when the server waits for the client; None: a request is being answered."""

    def abort(self) -> None:
        """Close it at once."""

    def enforce_deadlines(self, now_s: float) -> None:
        """Close it if its client is too slow; `now_s` is monotonic."""


class ConnectionTable:
    """All open connections; use it from one thread."""

    def __init__(self, max_connections: int, max_per_address: int) -> None:
        """Start empty."""
        self.max_connections, self._max_per_address = max_connections, max_per_address
        self._connections: set[Connection] = set()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        """Iterate over a copy, so that connections may be removed meanwhile."""
        return iter(list(self._connections))

    def add(self, connection: Connection) -> None:
        """Count a connection until `remove`."""
        self._connections.add(connection)
        self._counts[connection.group] += 1

    def remove(self, connection: Connection) -> None:
        """Stop counting a connection; do nothing if it is not counted."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._counts[connection.group] -= 1
            if not self._counts[connection.group]:
                del self._counts[connection.group]

    def make_room(self, group: str) -> str:
        """Make room for one more connection of `group`; returns "", or the setting whose limit is reached.

        At a limit, the connection for whose client the server has waited longest is closed: first one of the same
        address, if that address is at its limit. If all of them are being answered, there is no room.
        """
        if self._counts[group] >= self._max_per_address and not self._abort_longest_waiting(group):
            return "serve.max_connections_per_address"
        if len(self) >= self.max_connections and not self._abort_longest_waiting():
            return "serve.max_connections"
        return ""

    def _abort_longest_waiting(self, group: str = "") -> bool:
        waiting = [
            (one.waiting_since_s, one)
            for one in self._connections
            if one.waiting_since_s is not None and group in ("", one.group)
        ]
        if not waiting:
            return False
        _, connection = min(waiting, key=lambda pair: pair[0])
        connection.abort()
        self.remove(connection)
        return True


def to_group(address: str) -> str:
    """Return what connections are counted under: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))


def limit_by_open_files(max_connections: int) -> int:
    """Return the limit of connections that leaves half of the process's open files to databases and artifacts."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max_connections if soft == resource.RLIM_INFINITY else max(1, min(max_connections, soft // 2))
