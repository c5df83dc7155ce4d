"""A network link to one server of this machine: passes bytes on until it is cut, then drops all connections at once."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65536


class NetworkLink:
    """Listens on a port of its own, also while it is cut."""

    def __init__(self, target_port: int) -> None:
        self._target_port, self._is_cut = target_port, False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Drop the open connections, and every new one."""
        with self._lock:
            self._is_cut = True
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        """Pass bytes on again."""
        self._is_cut = False

    def close(self) -> None:
        """Cut it for good."""
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the wait in accept
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = None if self._is_cut else socket.create_connection(("127.0.0.1", self._target_port))
                except OSError:
                    server = None
                if server is None:
                    client.close()
                    continue
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with self._lock:
            self._open.add(source)
        with suppress(OSError):
            while not self._is_cut and (data := source.recv(_CHUNK)):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._open.discard(source)
        source.close()


@contextmanager
def open_link(target_port: int) -> Iterator[NetworkLink]:
    """A link for the length of a block."""
    link = NetworkLink(target_port)
    try:
        yield link
    finally:
        link.close()
