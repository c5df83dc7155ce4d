"""A waiting connection with a whole request is opened before the others; the others in the order in which they came."""

import socket

import pytest

from components.serving.http import opening_line
from components.serving.http.opening_line import OpeningLine
from components.serving.http.opening_pace import OpeningPace

GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\nContent-Length: 3\r\n\r\n"
CHUNKED = b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"


class FixedPace(OpeningPace):
    """No credits beyond the first ones, and any number to borrow."""

    def __init__(self, credit_count):
        self.credit_count = credit_count

    def take(self, group, *, may_borrow=False):
        self.credit_count -= 1
        if self.credit_count < 0 and not may_borrow:
            self.credit_count += 1
            return False
        return True


@pytest.fixture
def connect():
    """A function of what a client has sent to the server's end of its connection."""
    made = []

    def make(content=b""):
        pair = socket.socketpair()
        made.extend(pair)
        pair[0].sendall(content)
        return pair[1]

    yield make
    for one in made:
        one.close()


def fill(line, *connections, address="192.0.2.1"):
    for one in connections:
        line.add(one, address)


def take(line, *, is_plain=True):
    return [client for client, _ in line.take(is_plain=is_plain)]


def test_the_others_wait_for_credits_in_their_order(connect):
    clients = [connect() for _ in range(3)]
    line = OpeningLine(FixedPace(2))
    fill(line, *clients)
    assert take(line) == clients[:2]
    assert line.has_any("192.0.2.1")
    assert take(line) == []


@pytest.mark.parametrize(
    "content", [GET, POST + b"abc", CHUNKED + b"0\r\n\r\n", POST.replace(b"3", b"99999") + b"x" * 17000]
)
def test_a_whole_request_or_as_much_as_is_looked_at_does_not_wait(connect, content):
    silent, caller = connect(), connect(content)
    line = OpeningLine(FixedPace(0))
    fill(line, silent, caller)
    assert take(line, is_plain=False) == []
    assert take(line) == [caller]
    assert caller.recv(65536).startswith(content[:4])


@pytest.mark.parametrize("content", [b"", b"GET /hea", GET[:-2], POST, POST + b"ab", CHUNKED])
def test_a_part_of_a_request_waits(connect, content):
    line = OpeningLine(FixedPace(0))
    fill(line, connect(content))
    assert take(line) == []


def test_a_full_line_closes_the_oldest_of_the_address_with_most(connect, monkeypatch):
    monkeypatch.setattr(opening_line, "_MAX_WAITING", 3)
    other, *own = [connect() for _ in range(4)]
    line = OpeningLine(FixedPace(9))
    fill(line, other, address="192.0.2.2")
    fill(line, *own)
    assert own[0].fileno() == -1
    assert take(line) == [other, *own[1:]]
    assert not line.has_any("192.0.2.1")


def test_all_are_closed_with_the_line(connect):
    clients = [connect() for _ in range(2)]
    line = OpeningLine(FixedPace(0))
    fill(line, *clients)
    line.close()
    assert [client.fileno() for client in clients] == [-1, -1]
    assert take(line) == []
