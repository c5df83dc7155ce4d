"""A port that leads to a server's port while it is open, and refuses connections while it is closed.

To its clients a closed gate is a server that has ended, without the seconds that another start of the server takes.
"""

import socket
import threading
from contextlib import suppress

from processes import find_free_port


class PortGate:
    """Closed at first."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.url = f"http://127.0.0.1:{find_free_port()}"
        self._target, self._sockets = target, list[socket.socket]()

    def open(self) -> None:
        """Accept connections, and connect each with the target."""
        listener = socket.create_server(("127.0.0.1", int(self.url.rpartition(":")[2])))
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def close(self) -> None:
        """End all connections and accept no more."""
        for one in self._sockets:
            _end(one)
            one.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    _end(source)
    _end(target)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
