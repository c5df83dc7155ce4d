"""The server process: a real engine on a tiny base behind a real port, used through OpenAI's client."""

import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx
import openai
import pytest
from waiting import wait_until

from components.access.api_keys import ApiKeys
from components.errors import ConfigError
from components.rollout.store.database import open_database
from components.serving.http.server import serve

COMMAND = str(Path(sys.executable).with_name("prefixfleet"))
REQUEST = {"model": "alder", "prompt": "thing: boat", "max_tokens": 12, "temperature": 1.5, "seed": 5}


class Server:
    """`prefixfleet serve` in a process of its own."""

    def __init__(self, root):
        self._log = root / "serve.log"
        command = [COMMAND, "-C", str(root), "serve", "--port", "0"]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.url = wait_until(lambda: self._find_line("serving on "), "its address").split()[-1].rstrip(",")
        wait_until(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, "its base")

    def _find_line(self, words):
        assert self.process.poll() is None, self._log.read_text()
        (line,) = [line for line in self._log.read_text().splitlines() if words in line][:1] or [""]
        return line.partition(", the API")[0]


@pytest.fixture(scope="module")
def server(mlflow_fleet):
    """One process for the tests of this file; the last of them ends it."""
    mlflow_fleet.register("alder", 7, "challenger")
    started = Server(mlflow_fleet.workspace.root)
    yield started
    started.process.kill()
    started.process.wait()


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")


@pytest.mark.slow
def test_openais_client_works_unchanged(client):
    assert [model.id for model in client.models.list()] == ["alder", "birch"]
    raw = client.completions.with_raw_response.create(**REQUEST)
    whole = raw.parse()
    assert raw.headers["x-prefixfleet-version"] == "1"
    assert whole.usage.completion_tokens <= 12
    chunks = list(client.completions.create(**REQUEST, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage
    challenger = client.completions.with_raw_response.create(**{**REQUEST, "model": "alder@challenger"})
    assert challenger.headers["x-prefixfleet-version"] == "2"
    assert challenger.headers["x-prefixfleet-artifact"] != raw.headers["x-prefixfleet-artifact"]
    settings = {"top_p": 0.9, "n": 2, "logprobs": 2, "stop": ["\n"], "user": "u"}
    two = [client.completions.create(**REQUEST, **settings, extra_body={"guidance": 1.5}) for _ in range(2)]
    assert [choice.text for choice in two[0].choices] == [choice.text for choice in two[1].choices]
    assert 1 <= len(two[0].choices[0].logprobs.top_logprobs[0]) <= 2  # two bytes may have the same text
    record = client.completions.create(**{**REQUEST, "prompt": None}, extra_body={"input": {"a": "b"}})
    assert record.choices[0].finish_reason in ("stop", "length")
    with pytest.raises(openai.BadRequestError, match="suffix"):
        client.completions.create(**REQUEST, suffix="x")
    with pytest.raises(openai.NotFoundError):
        client.completions.create(**{**REQUEST, "model": "nobody"})


@pytest.mark.slow
def test_a_moved_alias_is_followed_and_no_request_fails_meanwhile(server, mlflow_fleet):
    def ask():
        answer = httpx.post(f"{server.url}/v1/completions", json={"model": "birch", "prompt": "x", "max_tokens": 1})
        assert answer.status_code == 200, answer.text
        return answer.headers["x-prefixfleet-version"]

    number = mlflow_fleet.register("birch", 8)
    assert ask() == "1"
    mlflow_fleet.registry.set_alias("birch", "champion", number)
    wait_until(lambda: ask() == number, "an answer of the new champion")


@pytest.mark.slow
def test_sigterm_refuses_new_requests_and_finishes_those_in_flight(server, client):
    answers = []

    def ask_slowly():
        answers.append(
            client.completions.create(**{**REQUEST, "prompt": ["thing: boat"] * 16, "n": 4, "max_tokens": 100})
        )

    asking = threading.Thread(target=ask_slowly)
    asking.start()
    wait_until(lambda: httpx.get(f"{server.url}/healthz").json()["rows_running"], "the rows in the batch")
    server.process.send_signal(signal.SIGTERM)
    models = f"{server.url}/v1/models"
    refused = wait_until(lambda: (got := httpx.get(models)).status_code == 503 and got, "a refusal")
    assert "retry-after" in refused.headers
    asking.join()
    assert len(answers[0].choices) == 64
    assert server.process.wait(60) == 0


def test_another_address_than_loopback_needs_keys(mlflow_fleet):
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigError, match=f"an API key, to serve on {host}"):
            serve(mlflow_fleet.workspace, {"host": host})


def test_a_port_in_use_and_impossible_addresses_are_errors_with_a_fix(mlflow_fleet):
    workspace = mlflow_fleet.workspace
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match=r"already in use.*--port"):
        serve(workspace, {"port": taken.getsockname()[1]})
    with closing(open_database(workspace.params.registry, workspace.root)) as database:
        ApiKeys(database, time.time).create("alder")
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(ConfigError, match=f"{host}, port 8000: .*--host"):
            serve(workspace, {"host": host, "port": 8000})
    with pytest.raises(ConfigError, match="the command line"):
        serve(workspace, {"port": 70_000})
