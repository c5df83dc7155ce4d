"""Real receivers of messages on this machine: an HTTP server that keeps requests, and a mail server."""

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from aiosmtpd.controller import Controller
from processes import find_free_port


class Receiver:
    """Keeps what it gets, and answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.may_answer: Event | None = None
        """What an answer waits for; None: nothing."""
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
                if receiver.may_answer is not None:
                    receiver.may_answer.wait(60)
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

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        return "250 ok"

    @contextmanager
    def run(self) -> Iterator[int]:
        """Serve during the block; yields the port."""
        controller = Controller(self, hostname="127.0.0.1", port=find_free_port())
        controller.start()
        try:
            yield controller.port
        finally:
            controller.stop()


@contextmanager
def _serving(server: ThreadingHTTPServer) -> Iterator[None]:
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
