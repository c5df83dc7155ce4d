"""Prefect's record of a tenant that is forgotten: on the workspace's own server, and on one that stands apart."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from components.rollout.store.ledger import read_history
from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow
PREFECT = str(Path(sys.executable).with_name("prefect"))
RUNS = """
import sys
from pathlib import Path
from flows.environment import prepare_environment
prepare_environment(Path(sys.argv[1]))
from flows.run_local import run_flow
for tenants in (None, ["alder"]):
    run_flow("retrain", Path(sys.argv[1]), tenants)
from components.rollout.types import LedgerEntry
from flows.rollout import hold, emit_rollback_event
for tenant in ("alder", "birch"):
    hold(tenant, "pin", sys.argv[1])
    told = {"from_version": "2", "to_version": "1", "why": "worse"}
    emit_rollback_event(LedgerEntry(tenant=tenant, by="rollout", action="rollback", **told))
"""
FORGET = "import sys; from flows.rollout import forget; forget('alder', sys.argv[1], 'ada')"


@pytest.fixture
def started(make_checkout, run_in, monkeypatch):
    """A checkout where a night's run, runs of single tenants and moves by hand were made, with all their lines."""
    for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)

    def start():
        root = make_checkout(("alder", "birch"))
        monkeypatch.setenv("PREFECT_HOME", str(root / "var" / "prefect"))
        monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "INFO")
        run_in(root, sys.executable, "-c", RUNS, str(root))
        return root

    return start


def test_nothing_of_it_stays_on_the_workspace_s_own_server(started, run_in):
    root = started()
    home = root / "var" / "prefect"
    before = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert before.count(b"alder") > 20
    done = run_in(root, "prefixfleet", "forget", "alder", "--yes")
    assert "forgotten" in done.stdout + done.stderr
    for path in (path for path in home.rglob("*") if path.is_file()):
        assert b"alder" not in path.read_bytes(), path
    kept = (home / "prefect.db").read_bytes()
    assert b"prefixfleet.tenant.birch" in kept
    assert b"birch: " in kept
    assert [one.action for one in read_history(Workspace(root).database, "alder")][-1] == "forget"


@pytest.fixture
def server(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "server"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    process = subprocess.Popen(
        [PREFECT, "server", "start", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            try:
                if httpx.get(f"{url}/health").is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        monkeypatch.setenv("PREFECT_API_URL", url)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def every(url, kind):
    found = []
    while True:
        page = httpx.post(f"{url}/{kind}/filter", json={"limit": 200, "offset": len(found)}).json()
        found += page
        if len(page) < 200:
            return found


def test_a_server_apart_keeps_the_run_that_forgot_it(server, started, run_in):
    root = started()
    kinds = ("flow_runs", "task_runs", "logs", "artifacts")
    before = {kind: every(server, kind) for kind in kinds}
    assert all("alder" in json.dumps(found) for kind, found in before.items() if kind != "task_runs")
    run_in(root, sys.executable, "-c", FORGET, str(root))
    time.sleep(3)  # its own last lines arrive
    after = {kind: every(server, kind) for kind in kinds}
    naming = {kind: [one for one in found if "alder" in json.dumps(one)] for kind, found in after.items()}
    (own,) = naming["flow_runs"]
    assert own["parameters"]["tenant"] == "alder"
    assert {line["flow_run_id"] for line in naming["logs"]} <= {own["id"]}
    assert naming["artifacts"] == naming["task_runs"] == []
    kept = {one["id"] for one in after["flow_runs"]}
    of_birch = [one for one in before["flow_runs"] if one["parameters"].get("tenant") == "birch"]
    assert of_birch
    assert {one["id"] for one in of_birch} <= kept
    assert any("birch" in one["data"] for one in after["artifacts"])
