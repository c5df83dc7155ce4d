"""One service: its process, when it is ready, what is done before and after. Knows no particular service."""

import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

_HTTP_TIMEOUT_S = 5.0


def _do_nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Service:
    """What `start` needs to know of one process."""

    name: str
    description: str
    """What it is, for the table."""
    command: Sequence[str]
    environment: Mapping[str, str]
    """Its whole environment."""
    folder: Path
    """Its working folder."""
    is_ready: Callable[[int], bool]
    """Asked with the number of its process until it says yes."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Variable of settings.env -> port that it listens on."""
    address: str = ""
    """For the table."""
    prepare: Callable[[], None] = _do_nothing
    """Called before it is started."""
    finish: Callable[[], None] = _do_nothing
    """Called once it is ready; repeated if a start did not come that far, so it must be idempotent."""
    stop_signal: signal.Signals = signal.SIGTERM


def answers(url: str) -> bool:
    """Return whether a GET request is answered with success."""
    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=_HTTP_TIMEOUT_S).is_success
    return False


def is_port_free(port: int) -> bool:
    """Return whether a server could listen on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
