"""Connections beyond the limits are refused or take an idle one's place, and every caller is still answered."""

import asyncio
import errno
import gc
import os
import socket
import ssl

import httpx
import pytest
from certificates import CertificatePair
from served_in_thread import read_to_end, run_in_thread
from waiting import wait_until

from components.serving.http import acceptor, opening_line, opening_pace

BODY = {"model": "alder", "prompt": "thing: boat"}


def serve(fleet, **limits):
    fleet.set_params(serve=limits)
    return fleet.serving()


@pytest.fixture
def no_garbage_collection():
    """A socket that only the collector would close stays open."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
def test_connections_that_were_waiting_to_be_accepted_are_closed_where_they_find_no_room(fleet):
    with serve(fleet, max_connections=4) as service, run_in_thread(service, waiting_connections=12) as running:
        for client in running.waiting_connections[:8]:
            client.settimeout(10)
            assert read_to_end(client) == b""
        assert httpx.get(f"{running.url}/healthz").status_code == 200


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
def test_silent_connections_make_room_for_callers(fleet, limit):
    with serve(fleet, **{limit: 4}) as service, run_in_thread(service) as running:
        silent = [running.connect(b"POST /v1/c" * (number % 2)) for number in range(12)]
        assert httpx.post(f"{running.url}/v1/completions", json=BODY).status_code == 200
        assert running.server.connection_count <= 4
        assert read_to_end(silent[0]) == b""
        for client in silent:
            client.close()


def test_without_an_idle_connection_a_new_one_is_refused_and_the_log_names_the_setting(fleet, caplog):
    fleet.engine.may_go_on.clear()
    with serve(fleet, max_connections=2) as service, run_in_thread(service) as running:
        content = b'{"model": "alder", "prompt": "x"}'
        header = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        request = header + b"content-length: %d\r\n\r\n" % len(content) + content
        busy = [running.connect(request) for _ in range(2)]
        wait_until(lambda: len(fleet.engine.requests) == 2, "both requests")
        assert running.talk(b"").startswith(b"HTTP/1.1 503")
        assert "serve.max_connections is reached" in caplog.text
        fleet.engine.may_go_on.set()
        assert all(client.recv(65536).startswith(b"HTTP/1.1 200") for client in busy)
        for client in busy:
            client.close()


def test_the_parts_of_an_answer_are_sent_without_waiting_for_the_client(fleet):
    with serve(fleet) as service, run_in_thread(service) as running, running.connect() as client:
        (connection,) = wait_until(lambda: list(running.server._connections), "the connection")
        wait_until(lambda: connection.transport, "its transport")
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getpeername() == client.getsockname()
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_without_open_files_the_server_waits_and_then_accepts(fleet, caplog, monkeypatch):
    failures = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))] * 3
    accept = asyncio.SelectorEventLoop.sock_accept

    async def fail_first(loop, listener):
        if failures:
            raise failures.pop()
        return await accept(loop, listener)

    monkeypatch.setattr(acceptor, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_accept", fail_first)
    with serve(fleet) as service, run_in_thread(service) as running:
        assert httpx.get(f"{running.url}/healthz").status_code == 200
    assert caplog.text.count("cannot accept connections (Too many open files)") == 3


def test_a_tls_handshake_that_does_not_end_is_closed_and_others_are_answered(fleet, tmp_path):
    pair = CertificatePair(tmp_path, "mine")
    limits = {
        "tls_certificate": str(pair.certificate),
        "tls_key": str(pair.key),
        "tls_handshake_seconds": 0.3,
        "header_seconds": 0.3,
        "max_connections": 3,
    }
    with serve(fleet, **limits) as service, run_in_thread(service) as running:
        assert read_to_end(running.connect()) == b""
        assert read_to_end(running.connect(b"\x16\x03\x01")) == b""
        context = ssl.create_default_context(cafile=str(pair.certificate))
        context.check_hostname = False
        assert read_to_end(running.connect(tls=context)) == b""
        silent = [running.connect() for _ in range(5)]
        with running.connect(b"", tls=context) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert read_to_end(client).startswith(b"HTTP/1.1 200")
        for one in silent:
            one.close()
        wait_until(lambda: running.server.connection_count == 0, "the end of all connections")


def test_connections_that_send_nothing_wait_in_a_line_and_callers_of_the_same_address_do_not(fleet, monkeypatch):
    monkeypatch.setattr(opening_pace, "_PER_SECOND", 0.0)
    monkeypatch.setattr(opening_pace, "_CREDITS", 3.0)
    monkeypatch.setattr(opening_line, "_MAX_WAITING", 2)
    with serve(fleet) as service, run_in_thread(service) as running:
        silent = [running.connect() for _ in range(6)]
        assert read_to_end(silent[3]) == b""
        assert running.server.connection_count == 3
        assert httpx.post(f"{running.url}/v1/completions", json=BODY).status_code == 200
        for client in (*silent[:3], silent[5]):
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        for client in silent:
            client.close()


def test_a_caller_who_opens_a_connection_for_each_request_never_waits(fleet, monkeypatch):
    monkeypatch.setattr(opening_pace, "_PER_SECOND", 0.0)
    monkeypatch.setattr(opening_pace, "_CREDITS", 1.0)
    with serve(fleet) as service, run_in_thread(service) as running:
        for _ in range(5):
            assert httpx.post(f"{running.url}/v1/completions", json=BODY).status_code == 200


def test_connections_in_the_line_are_closed_at_a_shutdown(fleet, monkeypatch):
    monkeypatch.setattr(opening_pace, "_PER_SECOND", 0.0)
    monkeypatch.setattr(opening_pace, "_CREDITS", 1.0)
    with serve(fleet) as service, run_in_thread(service) as running:
        clients = [running.connect() for _ in range(2)]
        wait_until(lambda: running.server.connection_count == 1, "the first connection")
    assert [read_to_end(client) for client in clients] == [b"", b""]
    for client in clients:
        client.close()
