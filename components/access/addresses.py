"""Addresses to listen on, and the names of this machine. Knows sockets; does not know what is served."""

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from components.config.serve import ListenConfig
from components.errors import ConfigError

_BACKLOG = 2048
_BIND_FIXES = {
    errno.EADDRINUSE: "stop the process that uses it, or set another port (--port)",
    errno.EACCES: "set a port of 1024 or above (--port), or permit the process to bind to this one",
}
_PORT_SUFFIX = re.compile(r":\d*$")


@contextmanager
def listen(config: ListenConfig) -> Iterator[tuple[socket.socket, str]]:
    """Yield a listening socket and its URL; closed after the block. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listener = socket.create_server((config.host, config.port), family=family, backlog=_BACKLOG)
    except OSError as problem:
        number = problem.errno or 0
        reason = problem.strerror if isinstance(problem, socket.gaierror) else os.strerror(number)
        fix = _BIND_FIXES.get(number, "set an address of this machine (--host)")
        raise ConfigError("an address to serve on", f"{config.host}, port {config.port}: {reason}", fix) from None
    with listener:
        # Connections inherit it. asyncio sets it only on sockets made with the number of TCP; else answers wait 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        scheme = "https" if config.tls_certificate else "http"
        yield listener, f"{scheme}://{config.host}:{listener.getsockname()[1]}"


def require_keys_beyond_loopback(host: str, *, has_keys: bool) -> None:
    """Raise ConfigError if `host` is another address than loopback and there is no API key."""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not is_local and not has_keys:
        fix = "create one (`prefixfleet keys create`), or serve on 127.0.0.1"
        raise ConfigError(f"an API key, to serve on {host}", "no key", fix)


def is_loopback_host(host: str) -> bool:
    """Return whether the value of a Host header names this machine's loopback interface."""
    name = _PORT_SUFFIX.sub("", host.strip().lower()).removesuffix(".")
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
