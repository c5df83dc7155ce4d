"""nginx before two servers before two real vLLM engines: a canary, a promotion, a rollback, a forgotten tenant, ends.

OpenAI's clients ask all the while, streamed and not, and compare each text with the local engine's. Runs where
PREFIXFLEET_TEST_VLLM names the Python of vLLM's environment, as `make test-vllm` does.
"""

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from load_balancer import PROGRAM, balance_load
from processes import find_free_port
from random_versions import register_random
from server_process import ServerProcess
from solo_texts import write_solo_texts
from vllm_engine import MARKS, VllmServers
from waiting import LIMIT_S, wait_until

from components.rollout.store.tenant_state import write_states
from components.rollout.types import RolloutState, ShareChange
from components.stages.commands.forget import forget
from components.stages.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[2]
TENANTS = ("alder", "birch")
SOURCES = ("product : Blue Kettle | price : 25 euros", "thing : red boat", "name : Loch Fyne | area : riverside")
SERVE = {"engine": "vllm", "follow_seconds": 0.5}
REQUEST = {"max_tokens": 24, "temperature": 0.0, "seed": 0}
LONG = {"max_tokens": 300, "temperature": 0.0, "logit_bias": {"0": -100}}
"""Never ends by itself: 0 is the end of a text."""
pytestmark = [*MARKS, pytest.mark.skipif(PROGRAM is None, reason="no nginx (Debian: apt-get install nginx-light)")]


class Client(threading.Thread):
    """Asks for tenants in turn, streamed and not, until it is ended; each text must be that of its version."""

    def __init__(
        self, url: str, number: int, tenants: tuple[str, ...], expected: dict[tuple[str, str, str], str]
    ) -> None:
        super().__init__(daemon=True)
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S)
        self._number, self._expected = number, expected
        self.is_ended = threading.Event()
        self.tenants = tenants
        self.answered: list[tuple[str, str, str]] = []
        """Tenant, version and arm of each answer."""
        self.failures: list[str] = []

    def run(self) -> None:
        turn = self._number
        while not self.is_ended.is_set():
            turn += 1
            try:
                self._ask(self.tenants[turn % len(self.tenants)], SOURCES[turn % 3], is_streamed=turn % 4 < 2)
            except (openai.APIError, httpx.HTTPError, AssertionError) as problem:
                self.failures.append(repr(problem))

    def _ask(self, tenant: str, source: str, *, is_streamed: bool) -> None:
        body: dict[str, Any] = {"model": tenant, "prompt": source, **REQUEST}
        if is_streamed:
            with self._client.completions.with_streaming_response.create(**body, stream=True) as raw:
                text = "".join(chunk.choices[0].text for chunk in raw.parse())
        else:
            raw = self._client.completions.with_raw_response.create(**body)
            text = raw.parse().choices[0].text
        version = raw.headers["x-prefixfleet-version"]
        assert text == self._expected[tenant, version, source], (tenant, version, source, text)
        self.answered.append((tenant, version, raw.headers["x-prefixfleet-arm"]))


class Load:
    """Four clients."""

    def __init__(self, fleet: SimpleNamespace, *tenants: str) -> None:
        self._clients = [Client(fleet.url, number, tenants, fleet.expected) for number in range(4)]
        for one in self._clients:
            one.start()

    def wait_for(self, *wanted: tuple[str, str, str], rounds: int = 2, may_fail: bool = False) -> None:
        """Wait until clients have had these answers anew, and each client `rounds` answers."""
        starts = [len(one.answered) for one in self._clients]

        def is_done() -> bool:
            if not may_fail:
                self.check()
            new = [one.answered[start:] for one, start in zip(self._clients, starts, strict=True)]
            return all(len(one) >= rounds for one in new) and set(wanted) <= {answer for one in new for answer in one}

        wait_until(is_done, f"answers {wanted}")

    def wait_only(self, tenant: str, version: str) -> None:
        """Wait until a tenant's answers are of one version, and look at those that begin after that."""
        self.wait_for((tenant, version, "champion"))
        self.wait_for((tenant, version, "champion"), rounds=1)  # those that had begun before have ended
        starts = [len(one.answered) for one in self._clients]
        self.wait_for((tenant, version, "champion"))
        new = [answer for one, start in zip(self._clients, starts, strict=True) for answer in one.answered[start:]]
        assert {found for name, found, _ in new if name == tenant} == {version}

    def ask_only(self, tenant: str) -> None:
        for one in self._clients:
            one.tenants = (tenant,)

    def check(self) -> None:
        assert [failure for one in self._clients for failure in one.failures] == []

    def take_failures(self) -> int:
        found = sum(len(one.failures) for one in self._clients)
        for one in self._clients:
            one.failures.clear()
        return found

    def close(self) -> None:
        for one in self._clients:
            one.is_ended.set()
        for one in self._clients:
            one.join(LIMIT_S)


@pytest.fixture(scope="module")
def fleet(
    make_checkout_in: Any, vllm_servers: VllmServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SimpleNamespace]:
    """Two tenants with two versions each on the built-in base; the first is champion. Two servers behind nginx."""
    folder = tmp_path_factory.mktemp("gateway")
    sections = {"base": {"path": "base", "dtype": "float32"}, "serve": {**SERVE, "engines": list(vllm_servers.urls)}}
    root = make_checkout_in(folder, TENANTS, **sections)
    shutil.rmtree(root / "base")
    shutil.copytree(PROJECT / "base", root / "base")
    workspace = Workspace(root)
    digests = {}
    for number, tenant in enumerate(TENANTS):
        for version, aliases in (("1", ["champion"]), ("2", [])):
            made = register_random(workspace, tenant, 10 * number + int(version), *aliases, length=5, scale=1.0)
            digests[tenant, version] = made.sha256
    expected = write_solo_texts(root, folder / "fetched", TENANTS, SOURCES, REQUEST)
    vllm_servers.wait_up()
    ports = [find_free_port() for _ in range(2)]

    def start(port: int) -> ServerProcess:
        return ServerProcess(root, ["--port", str(port)], {}, None)

    servers = [start(port) for port in ports]
    with ExitStack() as stack:
        stack.callback(lambda: [one.process.kill() for one in servers])
        for one in servers:
            one.wait_ready()
        url = stack.enter_context(balance_load(folder / "nginx", ports))
        yield SimpleNamespace(
            root=root,
            workspace=workspace,
            base_digest=workspace.base.digest,
            digests=digests,
            expected=expected,
            url=url,
            ports=ports,
            servers=servers,
            start=start,
        )


@pytest.fixture
def start_load(fleet: SimpleNamespace) -> Iterator[Callable[..., Load]]:
    """A function of tenants to clients that ask for them until the end of the test."""
    with ExitStack() as stack:

        def start(*tenants: str) -> Load:
            load = Load(fleet, *tenants)
            stack.callback(load.close)
            return load

        yield start


def test_a_canary_a_promotion_and_a_rollback_under_load_and_nothing_is_left_of_a_forgotten_tenant(
    fleet: SimpleNamespace, start_load: Callable[..., Load], vllm_servers: VllmServers, call: Any
) -> None:
    load = start_load(*TENANTS)
    client = openai.OpenAI(base_url=f"{fleet.url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S)
    long: dict[str, Any] = {"model": "alder", "prompt": SOURCES[0], **LONG}
    whole = client.completions.create(**long)
    assert whole.usage.completion_tokens == LONG["max_tokens"]
    load.wait_for(("alder", "1", "champion"), ("birch", "1", "champion"))

    fleet.workspace.registry.set_alias("alder", "challenger", "2")
    changes = (ShareChange(0, 0.0), ShareChange(60, 0.5))
    trial = RolloutState(tenant="alder", champion="1", challenger="2", mode="canary", share=0.5, changes=changes)
    with fleet.workspace.database.transaction("a trial") as connection:
        write_states(connection, [trial])
    load.wait_for(("alder", "1", "champion"), ("alder", "2", "challenger"), ("birch", "1", "champion"))

    with client.completions.with_streaming_response.create(**long, stream=True) as raw:
        assert raw.headers["x-prefixfleet-version"] in ("1", "2")
        began_with, pieces = raw.headers["x-prefixfleet-version"], iter(raw.parse())
        text = next(pieces).choices[0].text
        assert call(fleet.root, "promote", "alder", "--version", "2").exit_code == 0
        load.wait_only("alder", "2")
        text += "".join(piece.choices[0].text for piece in pieces)
    if began_with == "1":
        assert text == whole.choices[0].text, "an answer that has begun stays with its version"
    assert call(fleet.root, "rollback", "alder", "--to", "1").exit_code == 0
    load.wait_only("alder", "1")

    assert call(fleet.root, "pin", "birch").exit_code == 0
    refused = call(fleet.root, "promote", "birch", "--version", "2")
    assert refused.exit_code != 0
    assert "pinned" in str(refused.exception) + refused.output

    mine = {fleet.digests["alder", version] for version in ("1", "2")}
    held = vllm_servers.list_artifacts(fleet.base_digest)
    assert set.union(*held) >= mine
    load.ask_only("birch")
    load.wait_for()
    forget(fleet.workspace, "alder")
    wait_until(lambda: not mine & set.union(*vllm_servers.list_artifacts(fleet.base_digest)), "the end of alder's")
    for url in vllm_servers.urls:
        metrics = httpx.get(f"{url}/metrics").text
        assert 'tenant="alder"' not in metrics
        assert not any(sha256 in metrics for sha256 in mine)
    assert not any((fleet.root / "var" / "prefixes" / sha256).exists() for sha256 in mine)
    with pytest.raises(openai.NotFoundError):
        client.completions.create(**long)
    load.wait_only("birch", "1")
    assert fleet.digests["birch", "1"] in set.union(*vllm_servers.list_artifacts(fleet.base_digest))
    load.check()


def test_a_killed_engine_and_a_rolling_restart_of_all_lose_no_request(
    fleet: SimpleNamespace, start_load: Callable[..., Load], vllm_servers: VllmServers
) -> None:
    load = start_load("birch")
    load.wait_for()
    vllm_servers.end(0, signal.SIGKILL)
    load.wait_for()
    vllm_servers.wait_up()
    for number, port in enumerate(fleet.ports):
        assert fleet.servers[number].stop() == 0
        load.wait_for()
        fleet.servers[number] = fleet.start(port)
        fleet.servers[number].wait_ready()
        load.wait_for()
    vllm_servers.end(1, signal.SIGTERM)
    load.wait_for()
    load.check()

    fleet.servers[0].process.kill()
    load.wait_for(may_fail=True)
    assert load.take_failures() <= 4, "only answers that it had begun"
    load.wait_for()
