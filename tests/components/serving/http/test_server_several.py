"""Two servers in processes of their own over one database: they agree, and one goes on when the other is killed."""

import time
from itertools import cycle

import openai
import pytest
from observations import read_observations
from server_process import ServerProcess
from waiting import LIMIT_S, wait_until

from components.access.api_keys import ApiKeys
from components.rollout.store.corrections import read_corrections
from components.rollout.store.database import open_database_url
from components.rollout.store.tenant_state import write_states
from components.rollout.store.usage import read_usage
from components.rollout.types import RolloutState, ShareChange

pytestmark = pytest.mark.slow
PARAMS = """
base: {path: base}
evaluate: {max_new_tokens: 4}
rollout: {split: user}
serve: {follow_seconds: 0.5}
tenants: {birch: {access: {requests_per_minute: 60}}}
"""
PROMPT = {"prompt": "thing: boat", "max_tokens": 2}


class Servers:
    """Two servers and their clients; a load balancer would choose among them as `choose` does."""

    def __init__(self, root, url):
        self.database = open_database_url(url)
        self.keys = ApiKeys(self.database, time.time)
        self.key, text = self.keys.create(None)
        self.processes = [ServerProcess(root, [], {"PREFIXFLEET_DATABASE": url}, None) for _ in range(2)]
        for one in self.processes:
            one.wait_ready()
        self.clients = [self.make_client(number, text) for number in range(2)]
        self._turns = cycle(range(2))

    def make_client(self, number, key):
        url = f"{self.processes[number].url}/v1"
        return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=LIMIT_S)

    def choose(self):
        return self.clients[next(self._turns)]

    def close(self):
        for one in self.processes:
            one.process.kill()
            one.process.wait()
        self.database.close()


@pytest.fixture
def servers(mlflow_fleet, database_url):
    root = mlflow_fleet.workspace.root
    (root / "params.yaml").write_text(PARAMS, encoding="utf-8")
    made = Servers(root, database_url)
    yield made
    made.close()


def send_feedback(client, answer, **values):
    return client.post("/feedback", body={"id": answer.id, **values}, cast_to=object)


def ask_for_arm(client, user):
    raw = client.completions.with_raw_response.create(model="alder", user=user, **PROMPT)
    return raw.headers["x-prefixfleet-arm"]


def test_two_servers_agree_and_one_goes_on_when_the_other_is_killed(servers, mlflow_fleet):
    answer = servers.clients[0].completions.create(model="alder", **PROMPT)
    for client in (servers.clients[1], servers.clients[0]):
        send_feedback(client, answer, text="a boat")
    assert [one.corrected for _, one in read_corrections(servers.database, "alder")] == ["a boat"]
    disliked = [one.disliked for one in read_observations(servers.database, "alder", ["1"], 0, 2**31 - 1)]
    assert sum(disliked) == 1

    begun_s, admitted, refused = time.monotonic(), 0, 0
    while refused < 20:
        try:
            servers.choose().completions.create(model="birch", **PROMPT)
            admitted += 1
        except openai.RateLimitError:
            refused += 1
    assert 0.9 * 60 <= admitted <= 1.05 * 60 * (1 + (time.monotonic() - begun_s) / 60)

    key, text = servers.keys.create("alder")
    clients = [servers.make_client(number, text) for number in range(2)]
    for client in clients:
        client.completions.create(model="alder", **PROMPT)
    servers.keys.revoke(key.id)
    for client in clients:
        wait_until(lambda client=client: is_refused(client), "the revoked key to be refused")

    servers.processes[0].process.kill()
    servers.processes[0].process.wait()
    for _ in range(20):
        servers.clients[1].completions.create(model="alder", **PROMPT)
    send_feedback(servers.clients[1], answer, rating=1)


def is_refused(client):
    try:
        client.completions.create(model="alder", **PROMPT)
    except openai.AuthenticationError:
        return True
    return False


def test_a_user_gets_the_same_arm_at_both_servers_and_counts_once(servers, mlflow_fleet):
    challenger = mlflow_fleet.register("alder", 5, "challenger")
    changes = (ShareChange(0, 0.0), ShareChange(60, 0.5))
    state = RolloutState(tenant="alder", champion="1", challenger=challenger, mode="canary", share=0.5, changes=changes)
    with servers.database.transaction("a trial") as connection:
        write_states(connection, [state])
    users = [f"user {number}" for number in range(40)]
    for client in servers.clients:
        wait_until(
            lambda client=client: "challenger" in {ask_for_arm(client, f"early {number}") for number in range(20)},
            "the trial to be known",
        )
        for number in range(20):  # some of them were asked before it was known
            ask_for_arm(client, f"early {number}")
    arms = [{user: ask_for_arm(client, user) for user in users} for client in servers.clients]
    assert arms[0] == arms[1]
    assert set(arms[0].values()) == {"champion", "challenger"}
    for one in servers.processes:
        assert one.stop() == 0
    rows = read_observations(servers.database, "alder", ["1", challenger], 0, 2**31 - 1, evidence=True)
    assert sum(one.requests for one in rows) == len(users) + 20


def read_alder(servers):
    found = read_usage(servers.database, 0, 2**31 - 1, tenants=["alder"]).values()
    return (
        sum(one.requests for one in found),
        sum(one.output_tokens for one in found),
        sum(one.serving_us for one in found),
    )


def test_usage_of_several_servers_is_exact_over_a_killed_and_a_stopped_one_and_a_restart(servers, mlflow_fleet):
    tokens = 0
    for count in range(10):
        tokens += servers.clients[count % 2].completions.create(model="alder", **PROMPT).usage.completion_tokens
    wait_until(lambda: read_alder(servers)[:2] == (10, tokens), "the usage of both servers to be written")
    servers.processes[0].process.kill()
    servers.processes[0].process.wait()
    tokens += servers.clients[1].completions.create(model="alder", **PROMPT).usage.completion_tokens
    assert servers.processes[1].stop() == 0
    assert read_alder(servers)[:2] == (11, tokens)
    root, url = mlflow_fleet.workspace.root, servers.database.url
    servers.processes[0] = again = ServerProcess(root, [], {"PREFIXFLEET_DATABASE": url}, None)
    again.wait_ready()
    _, text = servers.keys.create("alder")
    client = servers.make_client(0, text)
    tokens += client.completions.create(model="alder", **PROMPT).usage.completion_tokens
    (listed,) = client.get("/usage", cast_to=object)["data"]
    assert listed["requests"] == 11
    assert again.stop() == 0
    requests, counted, device_us = read_alder(servers)
    assert (requests, counted) == (12, tokens)
    assert device_us > 0
