"""A server that loses what it stands on: what callers see, and that nothing they were promised is lost."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from mlflow import MlflowClient
from observations import read_observations

from components.rollout.store.feedback import read_corrections
from components.serving.http.api_keys import ApiKeys
from components.stages import register
from components.stages.plan import plan
from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow
TENANTS = ("alder", "birch")
SOURCE = "thing: boat | colour: red"
ASKED = {"max_tokens": 24, "temperature": 0.25, "seed": 5}  # greedy, a random base repeats itself
STRONG = {"initialization": "random", "learning_rate": 5.0}  # or two prefixes would hardly differ on a random base


@pytest.fixture
def root(make_root, call, enliven):
    """A workspace whose two tenants have a champion each."""
    made = make_root(TENANTS, train=STRONG, serve={"follow_seconds": 0.2})
    enliven(made)
    for stage in ("base", "train", "evaluate", "gate"):
        told = call(made, "stage", stage)
        assert told.exit_code == 0, told.output
    place = Workspace(made)
    register.roll_out(place, register.register(place, plan(place).collect_fingerprints())[0], [])
    return made


@pytest.fixture
def right(root, written_alone):
    """Tenant -> what its champion writes with nobody beside it."""
    texts = written_alone(root, TENANTS, [SOURCE], ASKED)
    return {tenant: texts[tenant, "1", SOURCE] for tenant in TENANTS}


@pytest.fixture
def server(root, start_server):
    """One in which alder is resident and birch is not."""
    made = start_server(root)
    made.wait_ready()
    assert ask(made, "alder").status_code == 200
    return made


class MlflowServer:
    """MLflow behind a port of its own, on a workspace's database; can be stopped and started again."""

    def __init__(self, root):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._root, self._process = root, None

    def start(self):
        uri = f"http://127.0.0.1:{self.port}"
        where = ("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1")
        stores = ("--backend-store-uri", f"sqlite:///{self._root}/var/mlflow/mlflow.db")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *where, *stores],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(lambda: answers(f"{uri}/health"), seconds=90)
        return uri

    def stop(self):
        """At once, with its workers."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def mlflow_server(root):
    made = MlflowServer(root)
    yield made
    made.stop()


def answers(url):
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def ask(server, tenant, **more):
    body = {"model": tenant, "prompt": SOURCE, **ASKED}
    return httpx.post(f"{server.url}/v1/completions", json=body, timeout=60, **more)


def text_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def check_unavailable(answer):
    """Told to come again, and nothing of the server's inside."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert "Traceback" not in answer.text
    assert "/" not in answer.json()["error"]["message"]


def health(server):
    return httpx.get(f"{server.url}/healthz").json()


def wait_for(condition, seconds=15):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_registry_that_is_gone_stops_only_what_is_not_resident(root, mlflow_server, start_server, right):
    uri = mlflow_server.start()
    server = start_server(root, environment={"MLFLOW_TRACKING_URI": uri})
    server.wait_ready()
    assert text_of(ask(server, "alder")) == right["alder"]
    mlflow_server.stop()
    wait_for(lambda: "registry" in health(server)["troubles"], seconds=40)
    assert health(server)["status"] == "degraded"
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert text_of(ask(server, "alder")) == right["alder"]
    check_unavailable(ask(server, "birch"))
    again = start_server(root, environment={"MLFLOW_TRACKING_URI": uri})
    again.line("is loaded")
    assert httpx.get(f"{again.url}/readyz").status_code == 503
    check_unavailable(ask(again, "alder"))
    mlflow_server.start()
    for one in (server, again):
        wait_for(lambda one=one: "registry" not in health(one)["troubles"], seconds=40)
        assert {tenant: text_of(ask(one, tenant)) for tenant in TENANTS} == right
        assert health(one)["troubles"] == []


def test_a_store_that_is_gone_stops_only_what_is_not_resident(root, server, right):
    store = root / "var/mlflow/artifacts"
    store.rename(root / "elsewhere")
    check_unavailable(ask(server, "birch"))
    assert "store" in health(server)["troubles"]
    assert text_of(ask(server, "alder")) == right["alder"]
    (root / "elsewhere").rename(store)
    wait_for(lambda: health(server)["troubles"] == [])
    assert text_of(ask(server, "birch")) == right["birch"]


def test_a_version_that_is_deleted_and_a_tenant_that_is_forgotten_leave_the_disk_at_the_next_look(root, server, right):
    registry = Workspace(root).registry
    client = MlflowClient(registry.uri, registry.uri)
    text_of(ask(server, "birch"))
    digests = {tenant: registry.find_champion(tenant).sha256 for tenant in TENANTS}
    kept = {tenant: root / "var/prefixes" / digest for tenant, digest in digests.items()}
    assert all(folder.is_dir() for folder in kept.values())
    before = health(server)["resident_bytes"]

    client.delete_registered_model("prefix-birch")
    wait_for(lambda: not kept["birch"].exists())
    assert ask(server, "birch").status_code == 404
    assert health(server)["resident_bytes"] == before // 2
    assert text_of(ask(server, "alder")) == right["alder"]

    client.delete_registered_model_alias("prefix-alder", "champion")
    assert text_of(ask(server, "alder@1")) == right["alder"]
    client.delete_model_version("prefix-alder", "1")
    wait_for(lambda: not kept["alder"].exists())
    assert health(server)["resident_prefixes"] == 0
    wait_for(lambda: ask(server, "alder@1").status_code == 404)


def test_a_truncated_artifact_is_refused_and_a_truncated_copy_fetched_again(root, server, start_server, right):
    (torn,) = (
        path for path in (root / "var/mlflow/artifacts").glob("**/prefix.safetensors") if b"birch" in manifest(path)
    )
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    check_unavailable(ask(server, "birch"))
    assert text_of(ask(server, "alder")) == right["alder"]
    torn.write_bytes(whole)
    assert text_of(ask(server, "birch")) == right["birch"]
    assert server.stop() == 0

    for copy in (root / "var/prefixes").glob("*/prefix.safetensors"):
        copy.write_bytes(copy.read_bytes()[:100])
    again = start_server(root)
    again.wait_ready()
    for tenant in TENANTS:
        assert text_of(ask(again, tenant)) == right[tenant]


def manifest(prefix):
    return prefix.with_name("manifest.json").read_bytes()


def test_after_kill_9_keys_corrections_and_answers_are_there(root, start_server, right):
    database = Workspace(root).database
    key = {"authorization": f"Bearer {ApiKeys(database, time.time).create('alder')[1]}"}
    server = start_server(root)
    server.wait_ready()
    corrected, broken, stop = [], [], threading.Event()

    def correct():
        while not stop.is_set():
            try:
                done = ask(server, "alder", headers=key)
                assert text_of(done) == right["alder"]
                said = {"id": done.json()["id"], "text": f"better {len(corrected)}"}
                given = httpx.post(f"{server.url}/v1/feedback", json=said, headers=key, timeout=60)
                assert given.status_code == 200, given.text
                corrected.append(said["text"])
            except httpx.TransportError as problem:
                broken.append(problem)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(correct)
        try:
            wait_for(lambda: len(corrected) > 3 or asking.done())
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            wait_for(lambda: broken)
        finally:
            stop.set()
        asking.result()
    kept = [feedback.corrected for _, feedback in read_corrections(database)]
    assert kept[: len(corrected)] == corrected
    assert len(kept) <= len(corrected) + 1, "at most the one whose answer never came"

    again = start_server(root)
    again.wait_ready()
    assert text_of(ask(again, "alder", headers=key)) == right["alder"]
    assert ask(again, "birch", headers=key).status_code == 404
    assert ask(again, "alder").status_code == 401
    database.close()


def test_a_full_disk_stops_only_what_must_be_written(root, server, right):
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    check_unavailable(ask(server, "birch"))
    asked = 1
    wait_for(lambda: "observations" in health(server)["troubles"])
    for _ in range(5):
        assert text_of(ask(server, "alder")) == right["alder"]
        asked += 1
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert text_of(ask(server, "birch")) == right["birch"]
    wait_for(lambda: health(server)["troubles"] == [])
    assert server.stop() == 0
    database, now = Workspace(root).database, int(time.time() // 60)
    counted = sum(one.requests for one in read_observations(database, "alder", ["1"], now - 60, now + 1))
    database.close()
    assert counted == asked, "what was answered meanwhile must be counted later"
