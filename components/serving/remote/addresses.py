"""Addresses of engines: as they are listed, or all that DNS has for a name at the time.

Knows `serve.engines` and DNS; does not know HTTP.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from components.errors import ConfigError

_DNS = "dns+"
"""Before an address whose name stands for several engines."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class EngineAddresses:
    """The addresses of all engines; safe to use from any thread."""

    def __init__(self, entries: Sequence[str], resolve: Callable[..., Any] = socket.getaddrinfo) -> None:
        """`entries` as in serve.engines. Raises ConfigError: one is no address, or there twice."""
        self._urls = [_check_url(entry) for entry in entries]
        self._resolve = resolve
        if len(set(self._urls)) < len(self._urls):
            raise ConfigError("each engine once in serve.engines", ", ".join(self._urls), "remove the second")

    @property
    def may_change(self) -> bool:
        """Whether `find` can return others later."""
        return any(url.startswith(_DNS) for url in self._urls)

    def find(self) -> Sequence[str]:
        """Return the URL of each engine, asking DNS for the names. Raises OSError: DNS does not answer for a name."""
        found: dict[str, None] = {}
        for url in self._urls:
            found |= dict.fromkeys(self._find_by_dns(url) if url.startswith(_DNS) else [url])
        return list(found)

    def _find_by_dns(self, url: str) -> list[str]:
        parts = urlsplit(url.removeprefix(_DNS))
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        rows = self._resolve(parts.hostname, port, type=socket.SOCK_STREAM)
        hosts = sorted({str(row[4][0]) for row in rows})
        return [f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host in hosts]


def _check_url(entry: str) -> str:
    """Return an entry without a slash at its end. Raises ConfigError: it is no address."""
    url = entry.removeprefix(_DNS)
    try:
        parts = urlsplit(url)
        rest = (parts.path.rstrip("/"), parts.query, parts.fragment, parts.username, parts.password)
        is_address = parts.scheme in _DEFAULT_PORTS and parts.hostname and parts.port != 0 and not any(rest)
    except ValueError:
        is_address = False
    if is_address and entry != url and parts.scheme == "https":
        raise ConfigError("http:// after dns+, as a certificate names no address", repr(entry), "correct serve.engines")
    if not is_address:
        wanted = "an engine's address such as http://10.0.0.5:8001 or dns+http://engines.example:8001"
        raise ConfigError(wanted, repr(entry), "correct serve.engines")
    return entry.rstrip("/")
