"""The plugin in vLLM's HTTP server, in processes of its own: answers, 400 at admission, errors, orders, metrics."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import PLACEHOLDER, Artifact, make_ids
from prefixfleet_vllm.base_digest import compute_base_digest
from tiny_models import Model
from written_artifacts import write_artifact

IDS = make_ids(20, 5)
START_S = 600


class Server:
    """The address of a server, and its store."""

    def __init__(self, model: Model, store: Path, port: int) -> None:
        self.model, self.store, self.url = model, store, f"http://127.0.0.1:{port}"

    def write(self, length: int, seed: int) -> Artifact:
        tenant, layers = f"tenant-{seed}", self.model.make_prefix(length, seed)
        digest = compute_base_digest(self.model.folder)
        return Artifact(write_artifact(self.store, layers, tenant, digest), tenant, layers)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def post(self, body: dict[str, Any], path: str = "/v1/completions") -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as problem:
            return problem.code, json.loads(problem.read())

    def order(self, **order: Any) -> dict[str, Any]:
        status, body = self.post(
            {"prompt": [PLACEHOLDER], "max_tokens": 1, "kv_transfer_params": {"prefixfleet": order}}
        )
        assert status == 200, body
        return body["kv_transfer_params"]["prefixfleet"]


def make_body(artifact: Artifact, **changes: Any) -> dict[str, Any]:
    body = {
        "prompt": [PLACEHOLDER] * artifact.length + IDS,
        "cache_salt": artifact.sha256,
        "kv_transfer_params": {"prefixfleet": artifact.fields},
        "temperature": 0,
        "max_tokens": 8,
        "return_token_ids": True,
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


@pytest.fixture(scope="module")
def server(make_tiny: Callable[[str], Model], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store, log = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("log") / "log"
    transfer = {
        "kv_connector": "PrefixFleetConnector",
        "kv_role": "kv_consumer",
        "kv_connector_extra_config": {"stores": [str(store)]},
    }
    served = Server(make_tiny("llama"), store, port)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--model", str(served.model.folder), "--dtype", "float32", "--enforce-eager", "--max-model-len", "256"]
    command += ["--block-size", "32", "--kv-cache-memory-bytes", str(32 << 20), "--max-num-seqs", "16"]
    command += ["--distributed-executor-backend", "uni"]
    command += ["--kv-transfer-config", json.dumps(transfer)]
    command += ["--middleware", "prefixfleet_vllm.admission.AdmissionCheck"]
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    with log.open("w") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        wait_until_ready(served, process, log)
        yield served
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(served: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()[-4000:]
        try:
            served.get("/health")
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text()[-4000:])


def test_requests_of_two_tenants_get_their_texts(server: Server) -> None:
    for seed in (1, 2):
        artifact = server.write(33, seed)
        status, body = server.post(make_body(artifact))
        assert status == 200, body
        assert body["choices"][0]["token_ids"] == server.model.generate(artifact.layers, IDS, 8)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"cache_salt": None}, "no cache_salt"),
        ({"prompt": [PLACEHOLDER] * 5}, "5 tokens"),
        ({"prompt": "text"}, "a prompt of text"),
        ({"prompt_logprobs": 1}, "prompt_logprobs"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"kv_transfer_params": None}, "names an artifact"),
        ({"kv_transfer_params": {"prefixfleet": {"sha256": "x"}}}, "prefixfleet.sha256"),
        ({"max_tokens": -1}, "max_tokens"),
    ],
)
def test_a_wrong_request_gets_400_at_admission(server: Server, changes: dict[str, Any], text: str) -> None:
    status, body = server.post(make_body(server.write(5, 3), **changes))
    assert status == 400
    assert text in body["error"]["message"]


def test_a_damaged_artifact_gets_500_and_an_order_to_load_says_why(server: Server) -> None:
    artifact = server.write(5, 4)
    path = server.store / artifact.sha256 / "prefix.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert server.post(make_body(artifact))[0] == 500
    reply = server.order(load=artifact.fields)
    assert (reply["loaded"], reply["kind"]) == (False, "artifact")
    assert server.post(make_body(server.write(5, 5)))[0] == 200


def test_residency_is_in_the_metrics_and_gone_after_a_drop(server: Server) -> None:
    artifact = server.write(40, 6)
    assert server.order(load=artifact.fields) == {"loaded": True}
    line = f'sha256="{artifact.sha256}",tenant="{artifact.tenant}"'
    assert find_metric(server, "vllm:prefixfleet_artifact_bytes", line) == 40 * 2 * 2 * 64 * 4
    assert find_metric(server, "vllm:prefixfleet_loads_total") > 0
    assert server.order(drop=[artifact.sha256]) == {"dropped": 1}
    assert artifact.sha256 not in server.get("/metrics")


def find_metric(server: Server, name: str, label: str = "") -> float:
    lines = [line for line in server.get("/metrics").splitlines() if line.startswith(name + "{")]
    (found,) = [float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in label.split(","))]
    return found


def test_other_paths_take_no_requests(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert server.post(body, "/v1/chat/completions")[0] == 404
