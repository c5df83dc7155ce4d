"""Streams of a server's answer: events in order, headers, refusals, from a small server of the test's own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from processes import find_free_port

from components.console.asking.requests import ServerRequest
from components.console.asking.streams import stream_answer

REQUEST = ServerRequest("/v1/completions", {"model": "acme@2", "prompt": "é"})


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != "Bearer pf-1":
            content = json.dumps({"error": {"message": "wanted a key; got none; send one"}}).encode()
            self.send_response(401)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.send_response(200)
        self.send_header("x-prefixfleet-version", "2")
        self.send_header("server", "secret")
        self.end_headers()
        text = json.dumps({"choices": [{"text": body["prompt"]}]})
        self.wfile.write(f"data: {text}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as opened:
        thread = threading.Thread(target=opened.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{opened.server_address[1]}"
        opened.shutdown()
        thread.join()


def read(server: str, key: str) -> list[tuple[str, object]]:
    ticks = iter([0.0, 0.012, 0.05])
    events = list(stream_answer(server, key, REQUEST, lambda: next(ticks)))
    parts = [event.removesuffix("\n\n").split("\n") for event in events]
    return [(first.removeprefix("event: "), json.loads(second.removeprefix("data: "))) for first, second in parts]


def test_an_answer_is_streamed_with_its_headers_and_times(server):
    (first, programs), *rest = read(server, "pf-1")
    assert (first, sorted(programs)) == ("request", ["curl", "python"])
    assert rest == [
        ("head", {"headers": {"x-prefixfleet-version": "2"}, "ms": 12.0}),
        ("chunk", {"choices": [{"text": "é"}]}),
        ("end", {"ms": 50.0}),
    ]


def test_a_refusal_and_a_missing_server_are_told(server):
    assert read(server, "")[1:] == [("problem", "The server refused (status 401): wanted a key; got none; send one")]
    ((_, text),) = read(f"http://127.0.0.1:{find_free_port()}", "")[1:]
    assert text.endswith(": Connection refused; start it with `prefixfleet serve`, or correct console.server.")
