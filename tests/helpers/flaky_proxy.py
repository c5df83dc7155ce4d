"""An HTTP proxy in front of one server that answers with errors, cuts connections, stalls, or is gone."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code} by the proxy</Message></Error>'
_HOP_HEADERS = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class FlakyProxy:
    """Passes everything on until told otherwise. A fault lasts for `times` requests, or until `pass_all`."""

    def __init__(self, target: str) -> None:
        """Listen on a free port, which stays the same after `stop` and `start`."""
        self._target = urlsplit(target).netloc
        self._fault: dict[str, Any] = {}
        self._times_left: float = 0
        self._lock = threading.Lock()
        self._released = threading.Event()
        self.requests: list[str] = []
        """Method and path of every request, also of those that failed."""
        self._port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._make_handler())
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.pass_all()

    def stop(self) -> None:
        """Refuse connections and drop those that are open, as a server that is gone."""
        self._set_fault(kind="drop")
        self._server.shutdown()
        self._server.server_close()

    def pass_all(self) -> None:
        """End every fault."""
        self._set_fault(times=0)
        self._released.set()

    def answer(self, status: int, code: str, times: float = float("inf"), after_writes: int = 0) -> None:
        """Answer with this status and S3's error code, without asking the server, once it has passed some writes on."""
        self._set_fault(times=times, kind="answer", status=status, code=code, after_writes=after_writes)

    def cut_answers(self, times: float = float("inf")) -> None:
        """Close the connection in the middle of an answer."""
        self._set_fault(times=times, kind="cut-answer")

    def cut_requests(self, times: float = float("inf")) -> None:
        """Close the connection in the middle of a request's body."""
        self._set_fault(times=times, kind="cut-request")

    def stall(self, times: float = float("inf"), after_writes: int = 0) -> None:
        """Read the request's head and then nothing, and answer nothing, until `pass_all`."""
        self._released.clear()
        self._set_fault(times=times, kind="stall", after_writes=after_writes)

    def _set_fault(self, times: float = float("inf"), **fault: Any) -> None:
        with self._lock:
            self._times_left, self._fault = times, fault

    def _next_fault(self, request: str) -> dict[str, Any]:
        with self._lock:
            self.requests.append(request)
            if self._fault.get("after_writes"):
                self._fault["after_writes"] -= request.startswith("PUT")
                return {}
            if self._times_left <= 0:
                return {}
            self._times_left -= 1
            return self._fault

    def _make_handler(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                with suppress(ConnectionError):
                    super().handle_one_request()

            def pass_on(self) -> None:
                fault = proxy._next_fault(f"{self.command} {self.path}")
                kind, length = fault.get("kind"), int(self.headers.get("Content-Length") or 0)
                if kind == "stall":
                    proxy._released.wait()
                if kind in ("drop", "stall", "cut-request"):
                    self.rfile.read(min(length // 2, 65536))
                    self.close_connection = True
                    return
                body = self.rfile.read(length)
                if kind == "answer":
                    content = _ERROR.format(code=fault["code"]).encode()
                    self._reply(fault["status"], [("Content-Type", "application/xml")], content)
                    return
                status, headers, content = self._ask(body)
                self._reply(status, headers, content, cut=kind == "cut-answer")

            def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                upstream = http.client.HTTPConnection(proxy._target)
                upstream.request(self.command, self.path, body, dict(self.headers.items()))
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                return answer.status, answer.getheaders(), content

            def _reply(self, status: int, headers: list[tuple[str, str]], content: bytes, cut: bool = False) -> None:
                self.send_response_only(status)
                lengths = [value for name, value in headers if name.lower() == "content-length"]
                for name, value in headers:
                    if name.lower() not in _HOP_HEADERS:
                        self.send_header(name, value)
                is_head = self.command == "HEAD"
                self.send_header("Content-Length", lengths[0] if is_head and lengths else str(len(content)))
                if cut:
                    self.close_connection = True
                    self._headers_buffer[:] = self._headers_buffer[: None if content else 1]
                self.end_headers()
                if not is_head:
                    self.wfile.write(content[: len(content) // 2] if cut else content)

            def log_message(self, *_: object) -> None:
                pass

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

        return Handler


@contextmanager
def run_flaky_proxy(target: str) -> Iterator[FlakyProxy]:
    """A proxy for the length of a block."""
    proxy = FlakyProxy(target)
    try:
        yield proxy
    finally:
        proxy.pass_all()
        proxy.stop()
