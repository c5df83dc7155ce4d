"""Prefect as its users run it: a server, a process pool, a worker, the deployments of prefect.yaml, a schedule."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from forked_process import start_process
from forked_script import write_forked_script
from requests.adapters import HTTPAdapter, Retry
from waiting import wait_until

from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).resolve().parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))
_SCHEDULED_AFTER_S = 10


class Stack:
    """A Prefect server and a worker as processes of their own, their home and logs beside the workspace."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root.parent / "stack"
        self.folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.http = requests.Session()  # SQLite may be locked for a moment: Prefect's own client tries again, too
        again = Retry(20, connect=0, status_forcelist=[503], allowed_methods=None, backoff_factor=0.2)
        self.http.mount("http://", HTTPAdapter(max_retries=again))
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_TRACKING"))
        }
        self.environment = {
            **kept,
            "PWD": str(root),  # as a shell sets it; prefect.yaml names the workspace by it
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "PREFECT_API_URL": self.url,
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        self.processes: dict[str, Any] = {}

    def start(self, name: str, *arguments: str, **variables: str) -> None:
        """Start a service of Prefect with default signals, its lines in a file."""
        streams: dict[str, Any] = {"stderr": subprocess.STDOUT, "start_new_session": True}
        with (self.folder / f"{name}.log").open("wb") as log:
            environment = {**self.environment, **variables}
            self.processes[name] = start_process([PREFECT, *arguments], self.root, environment, stdout=log, **streams)

    def stop(self, name: str) -> int:
        """Ask a service to end and return its exit code; it may leave no process behind."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            code = process.wait(600)
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return code
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        return self.fail(f"{name} still ran, or a process that it had started, 600 s after SIGTERM")

    def kill(self) -> None:
        """Leave nothing behind, whatever happened."""
        for process in self.processes.values():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait(10)

    def prefect(self, *arguments: str) -> str:
        """Run a command of Prefect's command line to its end."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with start_process([PREFECT, "--no-prompt", *arguments], self.root, self.environment, **pipes) as done:
            stdout, stderr = done.communicate(600)
        if done.returncode:
            self.fail(f"prefect {' '.join(arguments)} exited {done.returncode}\n{stdout}\n{stderr}")
        return str(stdout)

    def fork_runs(self, deployment: dict[str, Any]) -> None:
        """Let the fork server start this interpreter's `prefect.engine` for a deployment's runs from now on."""
        program = self.folder / "engine"
        write_forked_script(program, sys.executable, "-m", "prefect.engine")
        variables = {**deployment["job_variables"], "command": str(program)}
        self.send("PATCH", f"/deployments/{deployment['id']}", {"job_variables": variables})

    def ask(self, path: str, **body: Any) -> Any:
        """Post a question to Prefect's API."""
        return self.send("POST", path, body).json()

    def send(self, method: str, path: str, body: Any) -> requests.Response:
        """Send a request to Prefect's API."""
        answer = self.http.request(method, f"{self.url}{path}", json=body, timeout=600)
        answer.raise_for_status()
        return answer

    def wait(self, what: str, limit_s: float, condition: Callable[[], Any]) -> Any:
        """Wait until `condition` returns something true; return that. Fails if a service of Prefect ends meanwhile."""

        def check() -> Any:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    self.fail(f"{name} ended with {process.returncode} while waiting for {what}")
            try:
                return condition()
            except requests.ConnectionError:
                return None

        try:
            return wait_until(check, what, limit_s, pause_s=0.5)
        except AssertionError as problem:
            return self.fail(str(problem))

    def ended(self, what: str, limit_s: float, deployments: Any = None, **flow_runs: Any) -> dict[str, Any]:
        """Wait for the first run of those asked for to end, and to end well."""

        def first() -> Any:
            asked = {**flow_runs, "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}
            return self.ask(
                "/flow_runs/filter", flow_runs=asked, deployments=deployments, sort="START_TIME_ASC", limit=1
            )

        run = self.wait(what, limit_s, first)[0]
        if run["state_type"] != "COMPLETED":
            self.fail(f"{what} ended as {run['state_type']}: {run['state']['message']}")
        return dict(run)

    def trigger(self, deployment: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Run a deployment as Prefect's page does, and wait for its end."""
        run = self.ask(f"/deployments/{deployment['id']}/create_flow_run", state={"type": "SCHEDULED"})
        return self.ended(deployment["entrypoint"], limit_s, id={"any_": [run["id"]]})

    def schedule(self, deployment: dict[str, Any]) -> None:
        """Let a deployment run in a few seconds, and then every minute."""
        soon = datetime.now(UTC) + timedelta(seconds=_SCHEDULED_AFTER_S)
        schedule = {"interval": 60, "anchor_date": soon.isoformat(), "timezone": "UTC"}
        self.send("POST", f"/deployments/{deployment['id']}/schedules", [{"active": True, "schedule": schedule}])

    def pause_schedules(self) -> None:
        """Let no schedule start another run."""
        for deployment in self.ask("/deployments/filter"):
            for one in deployment["schedules"]:
                self.send("PATCH", f"/deployments/{deployment['id']}/schedules/{one['id']}", {"active": False})

    def artifact(self, run: dict[str, Any], key: str) -> dict[str, Any]:
        """The artifact that a run left under a key."""
        asked = {"key": {"any_": [key]}, "flow_run_id": {"any_": [run["id"]]}}
        found = self.ask("/artifacts/filter", artifacts=asked)
        assert len(found) == 1, found
        return dict(found[0])

    def lines(self, run: dict[str, Any]) -> str:
        """What Prefect's page shows as the log of a run."""
        asked = {"flow_run_id": {"any_": [run["id"]]}}
        return "\n".join(one["message"] for one in self.ask("/logs/filter", logs=asked, limit=200))

    def fail(self, why: str) -> Any:
        """Fail with the ends of the services' logs."""
        for path in sorted(self.folder.glob("*.log")):
            tail = path.read_text(errors="replace").splitlines()[-40:]
            why += f"\n--- the end of {path.name}\n" + "\n".join(tail)
        pytest.fail(why)


@pytest.fixture
def stack(make_checkout, give_prefect_tables, run_in) -> Iterator[Stack]:
    """A workspace with the project's flows and deployments, and a Prefect server that answers."""
    root = make_checkout(("alder",))
    shutil.copy(PROJECT / "prefect.yaml", root)
    shutil.copytree(PROJECT / "flows", root / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    run_in(root, "git", "add", "prefect.yaml", "flows")
    run_in(root, "git", "commit", "-q", "-m", "flows")
    stack = Stack(root)
    give_prefect_tables(stack.folder / "home")
    try:
        often = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}
        stack.start("server", "server", "start", "--host", "127.0.0.1", "--port", str(stack.port), **often)
        stack.wait("the server", 600, lambda: requests.get(f"{stack.url}/health", timeout=5).ok)
        yield stack
    finally:
        stack.kill()


def test_a_triggered_and_a_scheduled_run_end_in_registered_versions(stack, write_tenant, run_in):
    root = stack.root
    stack.prefect("work-pool", "create", "default", "--type", "process")
    stack.prefect("deploy", "--all")
    wanted = yaml.safe_load((root / "prefect.yaml").read_text())["deployments"]
    known = {one["name"] + "@" + one["entrypoint"]: one for one in stack.ask("/deployments/filter")}
    assert {name: [each["schedule"]["cron"] for each in one["schedules"]] for name, one in known.items()} == {
        one["name"] + "@" + one["entrypoint"]: [each["cron"] for each in one.get("schedules", ())] for one in wanted
    }
    stack.pause_schedules()  # or this test would meet them at night
    retrain, take_drops = known["on-demand@flows.retrain.retrain"], known["take-drops@flows.dataset.dataset"]

    stack.start("worker", "worker", "start", "--pool", "default")
    first = stack.trigger(retrain, 600)
    assert first["state"]["message"] == "1 trained, 1 promoted of 1 tenants"
    assert Workspace(root).registry.find_champion("alder").version == "1"
    table = stack.artifact(first, "retrain-results")
    assert table["type"] == "table"
    rows = json.loads(table["data"])
    assert [(row["tenant"], row["verdict"], row["alias"]) for row in rows] == [("alder", "accepted", "champion")]
    page = stack.artifact(first, "retrain-report")
    assert page["type"] == "markdown"
    assert "alder (no prefix yet)" in page["data"]
    line = "alder: version 1 is now champion"  # lines reach the server in batches, some after the run has ended
    wait_until(lambda: line in stack.lines(first), "the line of the promotion", pause_s=1)

    stack.fork_runs(take_drops)
    stack.fork_runs(retrain)
    write_tenant(root / "drops", "alder", start=100)
    before = Workspace(root).dataset_version
    intake = stack.trigger(take_drops, 600)
    assert "alder changed" in intake["state"]["message"]
    assert Workspace(root).dataset_version != before
    assert "alder changed" in stack.artifact(intake, "dataset-report")["data"]

    stack.schedule(retrain)
    asked = {"id": {"any_": [retrain["id"]]}}
    begun = {"tags": {"all_": ["auto-scheduled"]}, "state": {"type": {"not_any_": ["SCHEDULED"]}}}
    stack.wait(
        "the scheduled run to begin",
        600,
        lambda: stack.ask("/flow_runs/filter", deployments=asked, flow_runs=begun),
    )
    stack.pause_schedules()
    scheduled = stack.ended("the scheduled run", 600, deployments=asked, tags={"all_": ["auto-scheduled"]})
    assert scheduled["auto_scheduled"]
    assert scheduled["state"]["message"] == "1 trained, 1 promoted of 1 tenants"
    champion = Workspace(root).registry.find_champion("alder")
    assert (champion.version, champion.dataset_version) == ("2", Workspace(root).dataset_version)
    assert json.loads(stack.artifact(scheduled, "retrain-results")["data"])[0]["version"] == "2"

    asked = {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
    stack.wait("the pool to come to rest", 600, lambda: not stack.ask("/flow_runs/filter", flow_runs=asked))
    assert stack.stop("worker") == 0
    assert stack.stop("server") in (0, -signal.SIGTERM)  # uvicorn raises the signal again once it has shut down
    assert "Traceback" not in (stack.folder / "worker.log").read_text()
