"""Callers of a day, against a small server: they ask again when they are told to, and see an answer that breaks off."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Handler(BaseHTTPRequestHandler):
    """The first request gets 503, every tenth no JSON; streams end after their first piece; the others are answered."""

    count = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).count += 1
        if "rating" in body or "text" in body:
            self.answer(200, {})
        elif self.headers["authorization"] == "Bearer intruder":
            self.answer(404, {})
        elif type(self).count == 1:
            self.answer(503, {"error": "later"}, ("retry-after", "0"))
        elif type(self).count % 10 == 0 and not body["stream"]:
            self.answer(200, None)
        else:
            choice = {"text": "alder the lamp is red .", "finish_reason": None if body["stream"] else "stop"}
            self.answer(200, {"id": "cmpl-1", "choices": [choice]}, stream=body["stream"])

    def answer(
        self, status: int, values: dict[str, Any] | None, *headers: tuple[str, str], stream: bool = False
    ) -> None:
        content = f"data: {json.dumps(values)}\n\n".encode() if stream else json.dumps(values).encode()
        content = b"<html>" if values is None else content
        self.send_response(status)
        names = {"tenant": "tenant-00000", "version": "1", "artifact": "a" * 64}
        own = [(f"x-prefixfleet-{name}", value) for name, value in names.items()]
        for header in [("content-length", str(len(content))), *own, *headers]:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_callers_ask_again_rate_answers_and_see_streams_that_break_off(url: str) -> None:
    from compressed_day.traffic import Traffic

    tenants = ["tenant-00000", "tenant-00001"]
    traffic = Traffic(url, "operator", ("tenant-00000", "intruder"), tenants, tenants[:1], 200.0, 60.0)
    traffic.start()
    while not (
        traffic.intrusions
        and traffic.feedback
        and {one.problem[:8] for one in [*traffic.exchanges]} >= {"a stream", "status 2"}
    ):
        time.sleep(0.01)
    traffic.stop()
    assert traffic.in_flight == {}
    assert any(one.attempts == 2 and one.status == 200 for one in traffic.exchanges)
    whole = [one for one in traffic.exchanges if not one.problem]
    assert {(one.owner, one.version, one.text) for one in whole} == {("tenant-00000", "1", "alder the lamp is red .")}
    problems = {one.problem.partition(": ")[0] for one in traffic.exchanges if one.problem}
    assert {one for one in problems if not one.startswith("a stream that ends with")} == {
        "status 200 with an answer of another form"
    }
    assert set(traffic.intrusions) == {404}
    assert not traffic.refused_feedback


def test_the_day_has_most_requests_in_the_afternoon() -> None:
    from compressed_day.traffic import Traffic

    traffic = Traffic("http://localhost", "", ("a-0", ""), ["a-0"], ["a-0"], 10.0, 24.0)
    assert traffic.get_rate(14.0) == pytest.approx(10.0)
    assert traffic.get_rate(2.0) == pytest.approx(1.0)
