"""What a client sends too slowly, or never, or never reads, ends its connection and nobody else's."""

import http.client
import json
import socket

import httpx
import pytest
from served_in_thread import read_to_end, run_in_thread
from waiting import wait_until

from components.serving.http import protocol

BODY = json.dumps({"model": "alder", "prompt": "thing: boat"}).encode()
HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
WHOLE = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
QUICK = {"header_seconds": 0.3, "body_seconds": 0.3, "idle_seconds": 1, "write_seconds": 0.3}


@pytest.fixture
def running(fleet, monkeypatch):
    fleet.set_params(serve=QUICK)
    with fleet.serving() as service, run_in_thread(service) as server:
        yield server


def is_healthy(running):
    return httpx.get(f"{running.url}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"POST /v1/comp", b"408"),
        (HEAD, b"408"),
        (HEAD + b"content-length: 50\r\n\r\n" + BODY[:10], b"408"),
        (CHUNKED + b"5\r\n" + BODY[:5], b"408"),
        (HEALTH.replace(b"\r\n\r\n", b"\r\ncontent-length: 50\r\n\r\n") + b"x", b"408"),
    ],
)
def test_a_request_that_does_not_arrive_in_time_ends_its_connection(running, sent, status):
    answer = running.talk(sent)
    assert answer[9:12] == status
    if status == b"408":
        assert b"let the operator raise serve." in answer
        assert b"connection: close" in answer.lower()
    assert is_healthy(running)
    wait_until(lambda: running.server.connection_count <= 1, "the end of the connection")


def test_single_bytes_do_not_extend_the_time(running):
    def is_open():
        try:
            client.sendall(b" ")
        except OSError:
            return False
        return True

    with running.connect(HEAD + b"content-length: 1000000\r\n\r\n") as client:
        wait_until(lambda: not is_open(), "the end of the connection")


def test_an_idle_connection_is_closed_and_a_quick_one_answers_many_requests(running):
    with running.connect() as client:
        for _ in range(3):
            client.sendall(WHOLE)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert (answer.status, json.loads(answer.read())["object"]) == (200, "text_completion")
        assert read_to_end(client) == b""


def test_requests_sent_at_once_are_answered_in_order(running):
    last = HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    answers = running.talk(WHOLE + HEALTH + WHOLE + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 4
    assert answers.rfind(b"rows_running") > answers.rfind(b"text_completion") > answers.find(b"rows_running")


def test_a_client_that_does_not_read_its_answer_is_disconnected(running, fleet):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(running.address)
        body = {"model": "alder", "prompt": ["x" * 150] * 64, "max_tokens": 1000, "logprobs": 5, "stream": True}
        content = json.dumps(body).encode()
        client.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(content) + content)
        wait_until(lambda: fleet.engine.requests, "its rows")
        wait_until(lambda: running.server.connection_count == 0, "the end of the connection")
    assert is_healthy(running)


def test_a_body_in_too_many_pieces_is_refused(running, monkeypatch):
    monkeypatch.setattr(protocol, "MAX_SMALL_PIECES", 20)
    assert running.talk(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY))[9:12] == b"400"
    ten = [BODY[start : start + 10] for start in range(0, len(BODY), 10)]
    few = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in ten) + b"0\r\n\r\n"
    with running.connect(CHUNKED + few) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET  /healthz  HTTP/1.1\r\nhost: localhost\r\n\r\n",
        HEALTH.replace(b"\r\n\r\n", b"\r\nhost: other\r\n\r\n"),
        HEALTH.replace(b"\r\n\r\n", b"\r\nx: " + b"y" * 100_000 + b"\r\n\r\n"),
        HEALTH.replace(b"\r\n\r\n", b"\r\n" + b"x: y\r\n" * 20_000 + b"\r\n"),
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n",
        HEAD + b"content-length: -5\r\n\r\n",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD.replace(b"1.1", b"1.0") + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"5\r\nabcdefgh\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_its_connection_closed(running, sent):
    answer = running.talk(sent)
    assert answer[9:12] == b"400"
    assert b"wanted " in answer
    assert is_healthy(running)


@pytest.mark.parametrize("sent", [b"\x16\x03\r\n\r\n", CHUNKED + b"oops\r\n"])
def test_beyond_a_pace_what_is_not_http_is_refused_later_and_may_be_closed_meanwhile(running, monkeypatch, sent):
    monkeypatch.setattr(running.server._invalid_http_pace, "_burst_s", -0.2)
    assert running.talk(sent)[9:12] == b"400"
    monkeypatch.setattr(running.server._invalid_http_pace, "_burst_s", -3600.0)
    with running.connect(sent) as client:
        (connection,) = wait_until(lambda: list(running.server._connections), "the connection")
        assert connection.waiting_since_s is not None
        assert read_to_end(client) == b""
    assert is_healthy(running)


def test_http_1_0_and_an_upgrade_are_answered(running):
    old = running.talk(WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert old.startswith(b"HTTP/1.1 200")
    upgrade = HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    with running.connect(upgrade) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_refusal_reaches_a_client_that_is_still_sending(fleet):
    with fleet.serving(is_open=False) as service, run_in_thread(service) as running:
        answer = httpx.post(f"{running.url}/v1/completions", json={"model": "alder", "prompt": "x" * 900_000})
        assert answer.status_code == 401
        half = HEAD + b"content-length: 900000\r\nauthorization: Bearer x\r\n\r\n" + BODY
        assert running.talk(half).startswith(b"HTTP/1.1 401")
