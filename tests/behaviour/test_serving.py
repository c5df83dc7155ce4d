"""One server for two trained tenants, as an operator and its clients meet it: commands, MLflow, OpenAI's client."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import openai
import pytest
from mlflow import MlflowClient
from server_process import ServerProcess
from solo_texts import write_solo_texts
from waiting import LIMIT_S, wait_until
from workspaces import amplify_prefixes, set_params

from components.stages.workspace import Workspace
from flows.run_local import run_flow

pytestmark = pytest.mark.slow
TENANTS = ("alder", "birch")
SOURCES = ("thing: boat | colour: red", "thing: lamp | colour: blue | number: 7", "thing: hat")
STRONG = {"initialization": "random", "learning_rate": 5.0}  # or two prefixes would hardly differ on a random base
REQUEST = {"max_tokens": 24, "temperature": 0.25, "seed": 5}  # greedy, a random base repeats itself


@pytest.fixture(scope="module")
def root(make_checkout_in, prefect_api, tmp_path_factory):
    """A workspace in which two tenants have been trained twice; version 1 of both is champion."""
    made = make_checkout_in(tmp_path_factory.mktemp("serving"), TENANTS, train=STRONG, serve={"follow_seconds": 0.5})
    amplify_prefixes(made)
    assert run_flow("retrain", made, None).promoted == dict.fromkeys(TENANTS, "1")
    set_params(made, train={**STRONG, "seed": 1}, serve={"follow_seconds": 0.5})
    assert run_flow("retrain", made, None).promoted == dict.fromkeys(TENANTS, "2")
    for tenant in TENANTS:
        move_alias(made, tenant, "1")
    return made


@pytest.fixture(scope="module")
def keys(root, call):
    return {tenant: call(root, "keys", "create", tenant).stdout.strip() for tenant in TENANTS}


@pytest.fixture(scope="module")
def server(root, keys):
    """A server that is ready; a test may stop it for good."""
    made = ServerProcess(root, [], {}, None)
    made.wait_ready()
    yield made
    made.process.kill()
    made.process.wait()


def move_alias(root, tenant, version):
    """Do what a person does on MLflow's page."""
    client = MlflowClient(tracking_uri=Workspace(root).registry.uri)
    client.set_registered_model_alias(f"prefix-{tenant}", "champion", version)


def make_client(server, key):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=LIMIT_S)


@dataclass(frozen=True)
class Answer:
    """A request's tenant, the version that answered it, and when it began and ended."""

    tenant: str
    version: str
    began_s: float
    ended_s: float


class Load:
    """Eight clients that send requests of both tenants, whole and streamed, and check each text, until it is closed."""

    def __init__(self, clients: dict[str, openai.OpenAI], expected: dict[tuple[str, str, str], str]) -> None:
        self.answers: list[Answer] = []
        self._clients, self._expected = clients, expected
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(8)
        self._sending: list[Future[int]] = [self._pool.submit(self._send, number) for number in range(8)]

    def close(self) -> list[int]:
        """Stop; returns each client's number of answers, or raises what a request ran into."""
        self._stop.set()
        self._pool.shutdown()
        return [one.result() for one in self._sending]

    def wait_for(self, condition: Callable[[Answer], bool], what: str) -> Answer:
        """Wait until twelve answers meet a condition, more than are under way at a time; returns the first to end."""

        def find() -> list[Answer] | None:
            for one in self._sending:
                assert not one.done(), one.result()
            found = [answer for answer in list(self.answers) if condition(answer)]
            return found if len(found) >= 12 else None

        return min(wait_until(find, what), key=lambda answer: answer.ended_s)

    def _send(self, number: int) -> int:
        done = 0
        while not self._stop.is_set():
            tenant, source = TENANTS[(number + done) % 2], SOURCES[(number * 7 + done) % 3]
            body = {"model": tenant, "prompt": source, **REQUEST}
            began_s = time.monotonic()
            completions = self._clients[tenant].completions
            if done % 3 == 2:
                with completions.with_streaming_response.create(**body, stream=True) as raw:
                    version = raw.headers["x-prefixfleet-version"]
                    text = "".join(chunk.choices[0].text for chunk in raw.parse())
            else:
                raw = completions.with_raw_response.create(**body)
                version, text = raw.headers["x-prefixfleet-version"], raw.parse().choices[0].text
            assert text == self._expected[tenant, version, source], (tenant, version, source)
            self.answers.append(Answer(tenant, version, began_s, time.monotonic()))
            done += 1
        return done


def test_a_moved_alias_is_followed_under_load_and_no_request_fails(root, keys, server, tmp_path):
    expected = write_solo_texts(root, tmp_path, TENANTS, SOURCES, REQUEST)
    load = Load({tenant: make_client(server, key) for tenant, key in keys.items()}, expected)
    switches = [(0.0, load.wait_for(lambda one: one.tenant == "alder", "answers to alder"))]
    try:
        for version in ("2", "1", "2"):
            moved_s = time.monotonic()
            move_alias(root, "alder", version)

            def is_new(one, version=version, moved_s=moved_s):
                return one.tenant == "alder" and one.version == version and one.began_s > moved_s

            switches.append((moved_s, load.wait_for(is_new, f"answers of alder's version {version}")))
    finally:
        counts = load.close()

    assert min(counts) > 0
    assert [first.version for _, first in switches] == ["1", "2", "1", "2"]
    assert {one.version for one in load.answers if one.tenant == "birch"} == {"1"}
    next_moves_s = [*(moved_s for moved_s, _ in switches[1:]), float("inf")]
    for (_, first), next_move_s in zip(switches, next_moves_s, strict=True):
        later = [one for one in load.answers if first.ended_s < one.began_s < next_move_s]
        assert {one.version for one in later if one.tenant == "alder"} == {first.version}
    assert httpx.get(f"{server.url}/healthz").json()["status"] == "ok"


def test_keys_keep_tenants_apart(keys, server):
    alder = make_client(server, keys["alder"])
    body = {"prompt": SOURCES[0], "max_tokens": 4}
    assert [model.id for model in alder.models.list()] == ["alder"]
    messages = []
    for model in ("birch", "birch@1", "birch@champion", "nobody"):
        with pytest.raises(openai.NotFoundError) as problem:
            alder.completions.create(model=model, **body)
        messages.append(problem.value.response.text)
    assert len(set(messages)) == 1, "another tenant must look like one that does not exist"
    with pytest.raises(openai.AuthenticationError):
        make_client(server, "pf_wrong").completions.create(model="alder", **body)


def test_after_sigterm_answers_under_way_are_finished_and_new_requests_refused(keys, server):
    alder = make_client(server, keys["alder"])
    body = {"model": "alder", "prompt": SOURCES[0], "max_tokens": 4}
    long = {**body, "prompt": [SOURCES[0]] * 16, "n": 4, "max_tokens": 100, "temperature": 1.0, "seed": 3}
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(alder.completions.create, **long)

        def is_running():
            assert not slow.done(), slow.result()
            return httpx.get(f"{server.url}/healthz").json()["rows_running"]

        wait_until(is_running, "the long request to run")
        server.process.terminate()
        refused = None
        while refused is None and not slow.done():
            try:
                alder.completions.create(**body)
            except openai.APIStatusError as problem:
                refused = problem
        assert refused is not None
        assert refused.status_code == 503
        assert "retry-after" in refused.response.headers
        assert len(slow.result().choices) == 64
    assert server.process.wait(LIMIT_S) == 0
