"""The real server on a real port, in a thread of this process, over the parts of a `Service`; and raw connections."""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from waiting import LIMIT_S, wait_until

from components.serving.errors import LOGGER_NAME
from components.serving.http.server import DrainingServer
from components.serving.http.service import Service


class RunningServer:
    """A server that answers at `address`."""

    def __init__(
        self, server: DrainingServer, address: tuple[str, int], waiting_connections: list[socket.socket]
    ) -> None:
        self.server, self.address = server, address
        self.waiting_connections = waiting_connections
        """Connections that were made before the server accepted any."""
        self.url = f"http://{address[0]}:{address[1]}"

    def connect(self, content: bytes = b"", tls: ssl.SSLContext | None = None) -> socket.socket:
        """A connection on which `content` has been sent."""
        client = socket.create_connection(self.address, timeout=LIMIT_S)
        if tls is not None:
            client = tls.wrap_socket(client)
        client.sendall(content)
        return client

    def talk(self, content: bytes) -> bytes:
        """Send `content` and return all that comes until the server closes the connection."""
        with self.connect(content) as client:
            return read_to_end(client)


def read_to_end(client: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    content = b""
    try:
        while part := client.recv(65536):
            content += part
    except ConnectionResetError:
        pass
    return content


@contextmanager
def run_in_thread(service: Service, waiting_connections: int = 0) -> Iterator[RunningServer]:
    """Run the server of these parts until the end of the block; so many connections are made before it accepts any."""
    names = ("uvicorn", "asyncio", LOGGER_NAME, f"{LOGGER_NAME}.connections", f"{LOGGER_NAME}.services")
    loggers = {name: logging.getLogger(name) for name in names}
    kept = {name: (one.handlers[:], one.level, one.propagate) for name, one in loggers.items()}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = DrainingServer(service, service.params.serve, "here")
        for name, one in loggers.items():  # caplog needs the messages
            one.handlers, one.propagate = kept[name][0], True
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        address: Any = listener.getsockname()
        waiting = [socket.create_connection(address, timeout=LIMIT_S) for _ in range(waiting_connections)]
        thread.start()
        try:
            wait_until(lambda: server.started and service.fleet.last_read_s is not None, "the server")
            yield RunningServer(server, address, waiting)
        finally:
            server.should_exit = True
            thread.join()
            for client in waiting:
                client.close()
            for name, one in loggers.items():
                one.handlers, one.level, one.propagate = kept[name]
