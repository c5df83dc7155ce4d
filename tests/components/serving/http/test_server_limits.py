"""A server of few files and many silent clients, in a process of its own: callers are answered, and SIGTERM ends it."""

import resource
import socket
import subprocess
import sys

import httpx
import pytest
from server_process import ServerProcess
from waiting import LIMIT_S, wait_until

pytestmark = pytest.mark.slow
HALF = (
    b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
)
BODY = {"model": "alder", "prompt": "thing: boat", "max_tokens": 2}


def lower_the_limit_of_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))


@pytest.fixture(scope="module")
def server(mlflow_fleet):
    params = mlflow_fleet.workspace.root / "params.yaml"
    params.write_text(
        params.read_text() + "serve: {drain_seconds: 100000, body_seconds: 100000, header_seconds: 100000}\n"
    )
    started = ServerProcess(mlflow_fleet.workspace.root, [], {}, lower_the_limit_of_files)
    started.wait_ready()
    yield started
    started.process.kill()
    started.process.wait()


def connect(server, content=b""):
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=LIMIT_S)
    client.sendall(content)
    return client


def test_silent_connections_beyond_the_limit_of_files_stop_nobody(server):
    silent = [connect(server, (b"", b"GET /he", HALF)[number % 3]) for number in range(90)]
    for _ in range(3):
        assert httpx.post(f"{server.url}/v1/completions", json=BODY, timeout=LIMIT_S).status_code == 200
    for client in silent:
        client.close()
    assert "half of the process's limit of open files" in server.read_log()
    assert len(server.read_log().splitlines()) < 60


def test_sigterm_ends_the_server_however_many_requests_are_half_sent(server):
    half = [connect(server, HALF) for _ in range(10)]
    wait_until(lambda: httpx.get(f"{server.url}/healthz").json()["requests_in_flight"] == 0, "its state")
    assert server.stop() == 0
    for client in half:
        client.close()


def test_a_shutdown_that_hangs_is_ended():
    program = """
import threading, signal, os, time
from components.serving.http import server
server._SHUTDOWN_SECONDS = server._LAST_SECONDS = 0
class Service:
    draining = False
    def start_draining(self): self.draining = True
class Hanging(server.DrainingServer):
    def __init__(self): self._service, self._drain_seconds = Service(), 0.1
Hanging().handle_exit(signal.SIGTERM, None)
threading.Event().wait()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1
    assert "the shutdown took more than 0 s" in done.stderr
