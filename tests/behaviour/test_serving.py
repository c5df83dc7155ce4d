"""One server for two trained tenants, as an operator and the callers meet it: commands, MLflow, OpenAI's client."""

import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from mlflow import MlflowClient

from components.stages.workspace import Workspace
from flows.run_local import run_flow

pytestmark = pytest.mark.slow
COMMAND = str(Path(sys.executable).with_name("prefixfleet"))
TENANTS = ("alder", "birch")
SOURCES = ("thing: boat | colour: red", "thing: lamp | colour: blue | number: 7", "thing: hat")
STRONG = {"initialization": "random", "learning_rate": 5.0}  # or two prefixes would hardly differ on a random base
ASKED = {"max_tokens": 24, "temperature": 0.25, "seed": 5}  # greedy, a random base repeats itself


@pytest.fixture
def root(make_checkout, set_params, enliven):
    """A workspace in which two tenants have been trained twice; version 1 of both is champion."""
    made = make_checkout(TENANTS, train=STRONG)
    enliven(made)
    assert run_flow("retrain", made, None).promoted == dict.fromkeys(TENANTS, "1")
    set_params(made, train={**STRONG, "seed": 1})
    assert run_flow("retrain", made, None).promoted == dict.fromkeys(TENANTS, "2")
    for tenant in TENANTS:
        move(made, tenant, "1")
    return made


def move(root, tenant, version):
    """What a person does in MLflow's page."""
    client = MlflowClient(tracking_uri=Workspace(root).registry.uri)
    client.set_registered_model_alias(f"prefix-{tenant}", "champion", version)


def key_of(root, run_in, tenant):
    return run_in(root, COMMAND, "keys", "create", tenant).stdout.strip()


def tell(words):
    """Into the test's output: `pytest -rP` shows it."""
    sys.stdout.write(f"{words}\n")


def client_of(server, key):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60)


def test_a_moved_alias_is_followed_under_load_and_nobody_notices(root, run_in, start_server, written_alone):
    right = written_alone(root, TENANTS, SOURCES, ASKED)
    keys = {tenant: key_of(root, run_in, tenant) for tenant in TENANTS}
    server = start_server(root)
    cold_s = server.wait_ready()
    tell(f"cold start: {cold_s:.1f} s")
    assert cold_s < 15
    clients = {tenant: client_of(server, key) for tenant, key in keys.items()}
    asked: list[tuple[float, str, str]] = []
    stop = threading.Event()

    def ask(number: int) -> int:
        done = 0
        while not stop.is_set():
            tenant, source = TENANTS[(number + done) % 2], SOURCES[(number * 7 + done) % 3]
            body = {"model": tenant, "prompt": source, **ASKED}
            began = time.monotonic()
            if done % 3 == 2:
                with clients[tenant].completions.with_streaming_response.create(**body, stream=True) as raw:
                    version = raw.headers["x-prefixfleet-version"]
                    text = "".join(chunk.choices[0].text for chunk in raw.parse())
            else:
                raw = clients[tenant].completions.with_raw_response.create(**body)
                version, text = raw.headers["x-prefixfleet-version"], raw.parse().choices[0].text
            assert text == right[tenant, version, source], (tenant, version, source)
            asked.append((began, tenant, version))
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, number) for number in range(8)]
        moved = []
        try:
            for version in ("2", "1", "2"):
                time.sleep(4)
                move(root, "alder", version)
                moved.append((time.monotonic(), version))
            time.sleep(6)
        finally:
            stop.set()
        counts = [one.result() for one in asking]  # raises what any request met

    assert min(counts) > 3
    assert {version for _, tenant, version in asked if tenant == "birch"} == {"1"}
    for (at, version), until in zip(moved, [*(at for at, _ in moved[1:]), float("inf")], strict=True):
        late = [one for began, tenant, one in asked if tenant == "alder" and at + 5 < began < until]
        assert set(late) <= {version}
        first = min(began for began, tenant, one in asked if tenant == "alder" and one == version and began > at)
        tell(f"alias moved to version {version}: first request under it {first - at:.2f} s later")
        assert first - at < 5
    tell(f"{sum(counts)} requests, {Counter((tenant, version) for _, tenant, version in asked)}")
    assert httpx.get(f"{server.url}/healthz").json()["status"] == "ok"
    assert server.stop() == 0


def test_keys_keep_tenants_apart_and_sigterm_lets_answers_finish(root, run_in, start_server):
    keys = {tenant: key_of(root, run_in, tenant) for tenant in TENANTS}
    server = start_server(root)
    server.wait_ready()
    alder = client_of(server, keys["alder"])
    body = {"prompt": SOURCES[0], "max_tokens": 4}
    assert [model.id for model in alder.models.list()] == ["alder"]
    told = []
    for model in ("birch", "birch@1", "birch@champion", "nobody"):
        with pytest.raises(openai.NotFoundError) as problem:
            alder.completions.create(model=model, **body)
        told.append(problem.value.response.text)
    assert len(set(told)) == 1, "another's tenant must look like none"
    with pytest.raises(openai.AuthenticationError):
        client_of(server, "pf_wrong").completions.create(model="alder", **body)

    many = {"model": "alder", "prompt": [SOURCES[0]] * 16, "n": 4, "max_tokens": 100, "temperature": 1.0, "seed": 3}
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(alder.completions.create, **many)
        while httpx.get(f"{server.url}/healthz").json()["rows_running"] == 0:
            assert not slow.done(), slow.result()
            time.sleep(0.01)
        server.process.terminate()
        refused = None
        while refused is None and not slow.done():
            try:
                alder.completions.create(model="alder", **body)
            except openai.APIStatusError as problem:
                refused = problem
        assert refused is not None
        assert refused.status_code == 503
        assert "retry-after" in refused.response.headers
        assert len(slow.result().choices) == 64
    assert server.process.wait(30) == 0
