"""A server without MLflow, artifacts or disk space, or killed: what clients get, and that no saved record is lost.

Most tests share a server. Each of them uses tenants that no other test uses.
"""

import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from champions import make_champions
from mlflow import MlflowClient
from mlflow_server import run_server
from observations import read_observations
from port_gate import PortGate
from server_process import ServerProcess
from solo_texts import write_solo_texts
from waiting import LIMIT_S, wait_until
from workspaces import amplify_prefixes

from components.access.api_keys import ApiKeys
from components.rollout.store.corrections import read_corrections
from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow
TENANTS = ("alder", "birch", "cedar", "dale", "elm", "fir", "hazel", "larch")
SOURCE = "thing: boat | colour: red"
REQUEST = {"max_tokens": 24, "temperature": 0.25, "seed": 5}  # with greedy decoding a random base repeats itself
STRONG = {"initialization": "random", "learning_rate": 5.0}  # otherwise two prefixes hardly differ on a random base


@pytest.fixture(scope="module")
def root(make_root_in, tmp_path_factory):
    """A workspace in which each tenant has a champion."""
    made = make_root_in(tmp_path_factory.mktemp("serving"), TENANTS, train=STRONG, serve={"follow_seconds": 0.2})
    amplify_prefixes(made)
    return make_champions(made)


@pytest.fixture(scope="module")
def expected(root, tmp_path_factory):
    """Tenant -> the text that its champion writes in a batch of one sequence."""
    texts = write_solo_texts(root, tmp_path_factory.mktemp("fetched"), TENANTS, [SOURCE], REQUEST)
    return {tenant: texts[tenant, "1", SOURCE] for tenant in TENANTS}


@pytest.fixture(scope="module")
def server(root):
    """A server that has loaded the artifact of alder and of no other tenant."""
    made = ServerProcess(root, [], {}, None)
    try:
        made.wait_ready()
        assert ask(made, "alder").status_code == 200
        yield made
        assert made.stop() == 0
    finally:
        made.process.kill()
        made.process.wait()


@pytest.fixture
def mlflow_gate(root):
    """A gate, closed, to an MLflow server on the workspace's database."""
    with run_server(root / "var/mlflow/mlflow.db", str(root / "var/mlflow/served")) as server:
        address = urlsplit(server.uri)
        gate = PortGate((address.hostname, address.port))
        yield gate
        gate.close()


def ask(server, tenant, **more):
    body = {"model": tenant, "prompt": SOURCE, **REQUEST}
    return httpx.post(f"{server.url}/v1/completions", json=body, timeout=LIMIT_S, **more)


def get_text(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def check_unavailable(answer):
    """Check for status 503 with a retry-after header, without internal details such as paths or a stack trace."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert "Traceback" not in answer.text
    assert "/" not in answer.json()["error"]["message"]


def read_health(server):
    return httpx.get(f"{server.url}/healthz", timeout=LIMIT_S).json()


def wait_for_trouble(server, name):
    wait_until(lambda: name in read_health(server)["troubles"], f"trouble with the {name}")


def wait_for_no_trouble(server):
    wait_until(lambda: read_health(server)["troubles"] == [], "no trouble")


def test_without_its_registry_a_server_answers_for_the_tenants_in_memory(root, mlflow_gate, start_server, expected):
    mlflow_gate.open()
    server = start_server(root, environment={"MLFLOW_TRACKING_URI": mlflow_gate.url})
    server.wait_ready()
    assert get_text(ask(server, "alder")) == expected["alder"]
    mlflow_gate.close()
    wait_for_trouble(server, "registry")
    assert read_health(server)["status"] == "degraded"
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert get_text(ask(server, "alder")) == expected["alder"]
    check_unavailable(ask(server, "larch"))
    again = start_server(root, environment={"MLFLOW_TRACKING_URI": mlflow_gate.url})
    again.line("is loaded")
    assert httpx.get(f"{again.url}/readyz").status_code == 503
    check_unavailable(ask(again, "alder"))
    mlflow_gate.open()
    for one in (server, again):
        wait_until(
            lambda one=one: "registry" not in read_health(one)["troubles"], "the end of the trouble with the registry"
        )
        for tenant in ("alder", "larch"):
            assert get_text(ask(one, tenant)) == expected[tenant]
        assert read_health(one)["troubles"] == []


def test_without_its_artifact_store_a_server_answers_for_the_tenants_in_memory(root, server, expected):
    store = root / "var/mlflow/artifacts"
    store.rename(root / "elsewhere")
    check_unavailable(ask(server, "birch"))
    assert "store" in read_health(server)["troubles"]
    assert get_text(ask(server, "alder")) == expected["alder"]
    (root / "elsewhere").rename(store)
    wait_for_no_trouble(server)
    assert get_text(ask(server, "birch")) == expected["birch"]


def test_a_truncated_artifact_is_refused_and_read_again_once_it_is_restored(root, server, expected):
    (damaged,) = (
        path
        for path in (root / "var/mlflow/artifacts").glob("**/prefix.safetensors")
        if b"cedar" in path.with_name("manifest.json").read_bytes()
    )
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    check_unavailable(ask(server, "cedar"))
    assert get_text(ask(server, "alder")) == expected["alder"]
    damaged.write_bytes(content)
    assert get_text(ask(server, "cedar")) == expected["cedar"]


def test_artifacts_of_a_deleted_version_and_of_a_deleted_tenant_are_removed_from_disk_and_memory(
    root, server, expected
):
    registry = Workspace(root).registry
    client = MlflowClient(registry.uri, registry.uri)
    before = read_health(server)
    for tenant in ("dale", "elm"):
        get_text(ask(server, tenant))
    folders = {tenant: root / "var/prefixes" / registry.find_champion(tenant).sha256 for tenant in ("dale", "elm")}
    assert all(folder.is_dir() for folder in folders.values())
    loaded = read_health(server)
    assert loaded["resident_prefixes"] == before["resident_prefixes"] + 2
    size = (loaded["resident_bytes"] - before["resident_bytes"]) // 2

    client.delete_registered_model("prefix-dale")
    wait_until(lambda: not folders["dale"].exists(), "the removal of dale's artifact from the disk")
    assert ask(server, "dale").status_code == 404
    assert read_health(server)["resident_bytes"] == before["resident_bytes"] + size
    assert get_text(ask(server, "elm")) == expected["elm"]

    client.delete_registered_model_alias("prefix-elm", "champion")
    assert get_text(ask(server, "elm@1")) == expected["elm"]
    client.delete_model_version("prefix-elm", "1")
    wait_until(lambda: not folders["elm"].exists(), "the removal of elm's artifact from the disk")
    assert read_health(server)["resident_prefixes"] == before["resident_prefixes"]
    wait_until(lambda: ask(server, "elm@1").status_code == 404, "version 1 of elm to be unknown")


def test_on_a_full_disk_a_server_answers_for_the_tenants_in_memory_and_writes_the_counts_later(root, server, expected):
    assert get_text(ask(server, "fir")) == expected["fir"]
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    check_unavailable(ask(server, "hazel"))
    request_count = 1
    wait_for_trouble(server, "observations")
    for _ in range(5):
        assert get_text(ask(server, "fir")) == expected["fir"]
        request_count += 1
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_for_no_trouble(server)  # until then, a retry of the server's own may keep a request from trying as well
    assert get_text(ask(server, "hazel")) == expected["hazel"]
    database = Workspace(root).database

    def count_requests():
        minute = int(time.time() // 60)
        return sum(one.requests for one in read_observations(database, "fir", ["1"], minute - 600, minute + 1))

    wait_until(lambda: count_requests() >= request_count, "the counts of requests that were answered on a full disk")
    assert count_requests() == request_count
    database.close()


def test_after_a_kill_keys_and_corrections_are_kept_and_a_damaged_copy_is_fetched_again(
    root, start_server, expected, tmp_path, monkeypatch
):
    # A key in the shared database would make the other tests need keys.
    monkeypatch.setenv("PREFIXFLEET_DATABASE", f"sqlite:///{tmp_path}/own.db")
    database = Workspace(root).database
    key = {"authorization": f"Bearer {ApiKeys(database, time.time).create('alder')[1]}"}
    server = start_server(root)
    server.wait_ready()
    corrected, broken, stop = [], [], threading.Event()

    def correct():
        while not stop.is_set():
            try:
                answer = ask(server, "alder", headers=key)
                assert get_text(answer) == expected["alder"]
                feedback = {"id": answer.json()["id"], "text": f"better {len(corrected)}"}
                saved = httpx.post(f"{server.url}/v1/feedback", json=feedback, headers=key, timeout=LIMIT_S)
                assert saved.status_code == 200, saved.text
                corrected.append(feedback["text"])
            except httpx.TransportError as problem:
                broken.append(problem)

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(correct)
        try:
            wait_until(lambda: len(corrected) > 3 or sending.done(), "corrections")
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            wait_until(lambda: broken or sending.done(), "a request to the killed server")
        finally:
            stop.set()
        sending.result()
    kept = [feedback.corrected for _, feedback in read_corrections(database, "alder")]
    assert kept[: len(corrected)] == corrected
    assert len(kept) <= len(corrected) + 1, "at most one more: its answer was lost"

    (copy,) = (root / "var/prefixes").glob(f"{Workspace(root).registry.find_champion('alder').sha256}/*.safetensors")
    copy.write_bytes(copy.read_bytes()[:100])
    again = start_server(root)
    again.wait_ready()
    assert get_text(ask(again, "alder", headers=key)) == expected["alder"]
    assert ask(again, "birch", headers=key).status_code == 404
    assert ask(again, "alder").status_code == 401
    database.close()
