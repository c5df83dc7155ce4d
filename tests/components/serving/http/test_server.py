"""The process: a real engine on a tiny base behind a real port, spoken to by OpenAI's client."""

import json
import os
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

from components.errors import ConfigError
from components.serving.http.api_keys import ApiKeys
from components.serving.http.server import serve

COMMAND = str(Path(sys.executable).with_name("prefixfleet"))


class Server:
    def __init__(self, root, *options):
        self.log = root / "serve.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [COMMAND, "-C", str(root), "serve", "--port", "0", *options],
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self.url = self._line("serving on ").split("serving on ")[1].split(",")[0]

    def _line(self, words):
        for _ in range(900):
            found = [line for line in self.log.read_text().splitlines() if words in line]
            if found:
                return found[0]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise TimeoutError(self.log.read_text())

    def wait_ready(self):
        self._line("is loaded")
        for _ in range(600):
            if httpx.get(f"{self.url}/readyz").status_code == 200:
                return self
            time.sleep(0.1)
        raise TimeoutError(self.log.read_text())

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()


@pytest.mark.slow
def test_openais_client_works_unchanged_and_sigterm_drains(fleet):
    fleet.register("alder", 7, "challenger")
    server = Server(fleet.workspace.root)
    try:
        server.wait_ready()
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
        assert [model.id for model in client.models.list()] == ["alder", "birch"]

        asked = {"model": "alder", "prompt": "thing: boat", "max_tokens": 12, "temperature": 1.5, "seed": 5}
        raw = client.completions.with_raw_response.create(**asked)
        whole = raw.parse()
        assert raw.headers["x-prefixfleet-version"] == "1"
        assert whole.usage.completion_tokens <= 12
        chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
        assert chunks[-1].usage == whole.usage
        trial = client.completions.with_raw_response.create(**{**asked, "model": "alder@challenger"})
        assert trial.headers["x-prefixfleet-version"] == "2"
        assert trial.headers["x-prefixfleet-artifact"] != raw.headers["x-prefixfleet-artifact"]
        drawn = {"top_p": 0.9, "n": 2, "logprobs": 2, "stop": ["\n"], "user": "u"}
        two = [client.completions.create(**asked, **drawn, extra_body={"guidance": 1.5}) for _ in range(2)]
        assert [choice.text for choice in two[0].choices] == [choice.text for choice in two[1].choices]
        assert 1 <= len(two[0].choices[0].logprobs.top_logprobs[0]) <= 2  # bytes of one look are one key
        record = client.completions.create(**{**asked, "prompt": None}, extra_body={"input": {"a": "b"}})
        assert record.choices[0].finish_reason in ("stop", "length")
        with pytest.raises(openai.BadRequestError, match="logit_bias"):
            client.completions.create(**asked, logit_bias={"1": 1})
        with pytest.raises(openai.NotFoundError):
            client.completions.create(**{**asked, "model": "nobody"})

        told = {}

        def ask_slowly():
            many = {**asked, "prompt": ["thing: boat"] * 16, "n": 4, "max_tokens": 100}
            told["slow"] = client.completions.create(**many)

        asking = threading.Thread(target=ask_slowly)
        asking.start()
        while httpx.get(f"{server.url}/healthz").json()["rows_running"] == 0:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        for _ in range(100):
            answer = httpx.get(f"{server.url}/v1/models")
            if answer.status_code == 503:
                break
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        asking.join()
        assert len(told["slow"].choices) == 64
        assert server.process.wait(30) == 0
    finally:
        server.stop()


@pytest.mark.slow
def test_the_alias_in_mlflow_is_followed(fleet):
    number = fleet.register("alder", 7)
    server = Server(fleet.workspace.root)
    try:
        server.wait_ready()

        def answer():
            return httpx.post(f"{server.url}/v1/completions", json={"model": "alder", "prompt": "x", "max_tokens": 1})

        assert answer().headers["x-prefixfleet-version"] == "1"
        fleet.registry.set_alias("alder", "champion", number)
        moved_s = time.monotonic()
        versions = []
        while "2" not in versions and time.monotonic() < moved_s + 30:
            got = answer()
            assert got.status_code == 200, got.text
            versions.append(got.headers["x-prefixfleet-version"])
        assert set(versions) == {"1", "2"}
    finally:
        assert server.stop() == 0


def test_another_address_than_loopback_wants_keys(fleet):
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigError, match=f"an API key, to serve on {host}"):
            serve(fleet.workspace, {"host": host})


def test_a_port_in_use_and_values_that_are_none_are_told(fleet):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match=r"already in use.*--port"):
        serve(fleet.workspace, {"port": taken.getsockname()[1]})
    with closing(fleet.database) as database:
        ApiKeys(database, time.time).create("alder")
    for host in ("192.0.2.1", "nowhere.invalid"):
        with pytest.raises(ConfigError, match=f"{host}, port 8000: .*--host"):
            serve(fleet.workspace, {"host": host, "port": 8000})
    with pytest.raises(ConfigError, match="the command line"):
        serve(fleet.workspace, {"port": 70_000})


_HOOKS = """
import schemathesis

@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        body = {**body, "model": "alder"}
        body.pop("best_of", None)
        if not body.get("input"):
            body["prompt"] = body.get("prompt") or "x"
        body.pop("input" if body.get("prompt") else "prompt", None)
    return body
"""


@pytest.mark.slow
def test_schemathesis_finds_no_fault_of_the_server(fleet):
    server = Server(fleet.workspace.root)
    try:
        server.wait_ready()
        (fleet.workspace.root / "hooks.py").write_text(_HOOKS)
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"),
                *("--max-examples", "10", "--seed", "1", "--checks", "not_a_server_error", "--no-color"),
                *("--phases", "examples,coverage,fuzzing", "--request-timeout", "30"),
            ],
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
            cwd=fleet.workspace.root,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(fleet.workspace.root)},
        )
        assert done.returncode == 0, done.stdout[-6000:]
        kept = json.dumps(httpx.get(f"{server.url}/healthz").json())
        assert '"ready": true' in kept
    finally:
        server.stop()
