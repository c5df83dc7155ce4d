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
from written_artifacts import write_artifact, write_lora

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

    def write_lora(self, rank: int, seed: int) -> Artifact:
        tenant, matrices = f"tenant-{seed}", self.model.make_lora(rank, seed)
        digest = compute_base_digest(self.model.folder)
        return Artifact(write_lora(self.store, matrices, tenant, digest), tenant, [], matrices)

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
    command += ["--enable-lora", "--max-lora-rank", "8", "--max-loras", "4", "--max-cpu-loras", "4"]
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


def test_requests_of_two_lora_tenants_get_their_texts_and_no_name_of_theirs_is_listed(server: Server) -> None:
    for seed in (11, 12):
        artifact = server.write_lora(8, seed)
        status, body = server.post(make_body(artifact))
        assert status == 200, body
        with server.model.with_lora(artifact.matrices):
            expected = server.model.generate([], IDS, 8)
        assert body["choices"][0]["token_ids"] == expected
        line = f'sha256="{artifact.sha256}",tenant="{artifact.tenant}"'
        size = find_metric(server, "vllm:prefixfleet_artifact_bytes", line)
        assert size == find_metric(server, "vllm:prefixfleet_lora_bytes") > 0
        assert (
            find_metric(server, "vllm:prefixfleet_used_loras"),
            find_metric(server, "vllm:prefixfleet_max_loras"),
        ) == (1, 3)
        assert artifact.sha256 not in server.get("/v1/models")
        assert server.order(drop=[artifact.sha256]) == {"dropped": 1}
        assert find_metric(server, "vllm:prefixfleet_used_loras") == 0
    assert server.order(status=[])["max_lora_rank"] == 8


@pytest.mark.parametrize(
    ("fields", "changes", "status", "text"),
    [
        ({"method": "prefix+lora"}, {}, 400, "prefix+lora"),
        ({"length": 5}, {}, 400, "none for method lora"),
        ({}, {"cache_salt": None}, 400, "no cache_salt"),
        ({}, {"model": "mine"}, 404, "mine"),
        ({"tenant": "another"}, {}, 500, ""),
    ],
)
def test_a_wrong_lora_request_gets_an_error(
    server: Server, fields: dict[str, Any], changes: dict[str, Any], status: int, text: str
) -> None:
    artifact = server.write_lora(8, 13)
    named = {"prefixfleet": {**artifact.fields, **fields}}
    got, body = server.post(make_body(artifact, kv_transfer_params=named, **changes))
    assert got == status
    assert text in body["error"]["message"]


def test_a_rank_that_is_too_large_gets_500_and_an_order_to_load_says_why(server: Server) -> None:
    artifact = server.write_lora(16, 14)
    assert server.post(make_body(artifact))[0] == 500
    reply = server.order(load=artifact.fields)
    assert (reply["loaded"], reply["kind"]) == (False, "setup")
    assert "rank 8 at most; got rank 16" in reply["error"]


def test_other_paths_take_no_requests(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert server.post(body, "/v1/chat/completions")[0] == 404
