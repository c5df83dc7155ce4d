"""Real receivers of messages on this machine: an HTTP server that keeps requests, and a mail server."""

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any


class Receiver:
    """Keeps what it gets, and answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.received: list[tuple[bytes, dict[str, str]]] = []
        """Bodies and headers."""
        self.paths: list[str] = []
        self.port = 0

    @contextmanager
    def run(self) -> Iterator[str]:
        """Serve during the block, at the port of the last time; yields the address."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append((body, dict(self.headers)))
                receiver.paths.append(self.path)
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = server.server_port
        with _serving(server):
            yield f"http://127.0.0.1:{self.port}/hook"


class MailServer:
    """Keeps the mails that it gets, by SMTP without encryption or login."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []

    @contextmanager
    def run(self) -> Iterator[int]:
        """Serve during the block; yields the port."""
        outer = self

        class Handler(StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 mail.test\r\n")
                while line := self.rfile.readline():
                    word = line.split()[0].upper() if line.strip() else b""
                    if word == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        lines: list[bytes] = []
                        while (one := self.rfile.readline()) != b".\r\n":
                            lines.append(one.removeprefix(b"."))
                        mail = message_from_bytes(b"".join(lines), policy=policy.default)
                        assert isinstance(mail, EmailMessage)
                        outer.mails.append(mail)
                    elif word == b"RCPT":
                        outer.recipients.append(line.split(b":", 1)[1].strip().decode())
                    self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                    if word == b"QUIT":
                        return

        server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        with _serving(server):
            yield server.server_address[1]


@contextmanager
def _serving(server: ThreadingTCPServer | ThreadingHTTPServer) -> Iterator[None]:
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
