"""nginx before two servers and three engines, all in processes of their own: each kind is killed, and all restarted.

The engines are the tests' own, with the part of vLLM's protocol that the servers use.
"""

import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
from forked_process import start_process
from load_balancer import PROGRAM, balance_load
from processes import find_free_port, make_environment
from server_process import ServerProcess
from waiting import LIMIT_S, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no nginx (Debian: apt-get install nginx-light)"),
]
HELPERS = Path(__file__).parents[3] / "helpers"
ENGINE = f"""
import sys
sys.path.insert(0, {str(HELPERS)!r})
from fake_vllm import serve_forever
serve_forever(sys.argv[1], int(sys.argv[2]))
"""
MODELS = ("alder", "birch")
TOKENS = 24


@dataclass
class Failure:
    """A request that failed, and whether its answer had begun: then no load balancer can send it elsewhere."""

    kind: str
    had_begun: bool


class Client(threading.Thread):
    """Asks again and again until it is ended, streamed and not, and compares the texts."""

    def __init__(self, url: str, number: int, expected: dict[str, str]) -> None:
        super().__init__(daemon=True)
        http = httpx.Client(event_hooks={"response": [self._note_status]}, timeout=LIMIT_S)
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=http)
        self._has_begun = False
        self._number, self._expected = number, expected
        self.is_ended = threading.Event()
        self.answered = 0
        self.wrong: list[str] = []
        self.failures: list[Failure] = []

    def run(self) -> None:
        turn = self._number
        while not self.is_ended.is_set():
            turn += 1
            self._ask(MODELS[turn % 2], is_streamed=turn % 4 < 2)

    def _note_status(self, _response: httpx.Response) -> None:
        self._has_begun = True

    def _ask(self, model: str, *, is_streamed: bool) -> None:
        text, self._has_begun = "", False
        try:
            if is_streamed:
                for piece in ask(self._client, model, stream=True):
                    text += piece.choices[0].text
            else:
                text = ask(self._client, model).choices[0].text
        except (openai.APIError, httpx.HTTPError) as problem:
            self.failures.append(Failure(repr(problem), self._has_begun))
            return
        self.answered += 1
        if text != self._expected[model]:
            self.wrong.append(text)


def ask(client, model, **options):
    return client.completions.create(model=model, prompt="thing: boat", max_tokens=TOKENS, **options)


class Engines:
    """Three engines on fixed ports."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.ports = [find_free_port() for _ in range(3)]
        self.processes = [self._start(port) for port in self.ports]

    def _start(self, port):
        command = [sys.executable, "-c", ENGINE, str(self._root / "base"), str(port)]
        return start_process(command, Path.cwd(), make_environment())

    def restart(self, number):
        self.processes[number] = self._start(self.ports[number])
        self.wait(number)

    def wait(self, number):
        url = f"http://127.0.0.1:{self.ports[number]}/health"
        wait_until(lambda: answers(url), "an engine")


class Servers:
    """Two servers on fixed ports."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.ports = [find_free_port() for _ in range(2)]
        self.processes = [self._start(port) for port in self.ports]

    def _start(self, port):
        return ServerProcess(self._root, ["--port", str(port)], {}, None)

    def restart(self, number):
        self.processes[number] = self._start(self.ports[number])
        self.processes[number].wait_ready()


def answers(url):
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def balanced(mlflow_fleet, tmp_path):
    root = mlflow_fleet.workspace.root
    engines = Engines(root)
    urls = ", ".join(f"'http://127.0.0.1:{port}'" for port in engines.ports)
    params = f"base: {{path: base}}\nserve: {{engine: vllm, follow_seconds: 0.5, engines: [{urls}]}}\n"
    (root / "params.yaml").write_text(params, encoding="utf-8")
    servers = Servers(root)
    with ExitStack() as stack:
        for one in (*engines.processes, *(one.process for one in servers.processes)):
            stack.callback(one.kill)
        for number in range(3):
            engines.wait(number)
        for one in servers.processes:
            one.wait_ready()
        yield stack.enter_context(balance_load(tmp_path / "nginx", servers.ports)), engines, servers
        for one in (*engines.processes, *(one.process for one in servers.processes)):
            stack.callback(one.kill)


def wait_for_answers(clients, count=3):
    """Wait until each client has had so many more answers or failures."""
    goals = [one.answered + len(one.failures) + count for one in clients]
    wait_until(
        lambda: all(one.answered + len(one.failures) >= goal for one, goal in zip(clients, goals, strict=True)),
        "further answers",
    )


def test_killed_engines_and_servers_lose_what_no_other_can_answer_and_a_rolling_restart_nothing(balanced):
    url, engines, servers = balanced
    first = openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=LIMIT_S)
    expected = {model: ask(first, model).choices[0].text for model in MODELS}
    assert expected["alder"] != expected["birch"]
    clients = [Client(url, number, expected) for number in range(4)]
    for one in clients:
        one.start()

    def find_failures():
        found = [failure for one in clients for failure in one.failures]
        for one in clients:
            one.failures.clear()
        return found

    wait_for_answers(clients)
    for number in range(3):
        engines.processes[number].kill()
        wait_for_answers(clients)
        engines.restart(number)
    assert find_failures() == [], "a killed engine's answers go on at another"

    servers.processes[0].process.kill()
    wait_for_answers(clients)
    servers.restart(0)
    lost = find_failures()
    assert all(one.had_begun for one in lost), lost
    assert len(lost) <= len(clients)

    wait_for_answers(clients)
    for number in range(3):
        engines.processes[number].terminate()
        engines.processes[number].wait(LIMIT_S)
        engines.restart(number)
        wait_for_answers(clients)
    for number in range(2):
        assert servers.processes[number].stop() == 0
        servers.restart(number)
        wait_for_answers(clients)
    for one in clients:
        one.is_ended.set()
    for one in clients:
        one.join(LIMIT_S)
    assert find_failures() == [], "a rolling restart loses nothing"
    assert [one.wrong for one in clients] == [[]] * 4
