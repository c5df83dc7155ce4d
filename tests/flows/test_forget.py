"""Prefect's record of a tenant that is forgotten: on the workspace's own server, and on one at an address."""

import json
import sys

import httpx
import pytest
from prefect_server import run_prefect_server
from processes import PREFIXFLEET, find_free_port, run_in
from waiting import wait_until

from components.rollout.store.ledger import read_history
from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow
RUNS = """
import sys
from pathlib import Path
from flows.environment import prepare_environment
prepare_environment(Path(sys.argv[1]))
from flows.run_local import run_flow
for tenants in (None, ["alder"]):
    run_flow("retrain", Path(sys.argv[1]), tenants)
from components.rollout.types import LedgerEntry
from flows.events import emit_tenant_event
from flows.rollout import hold
for tenant in ("alder", "birch", "cedar"):
    hold(tenant, "pin", sys.argv[1])
    rollback = {"from_version": "2", "to_version": "1", "why": "worse"}
    emit_tenant_event(LedgerEntry(tenant=tenant, by="rollout", action="rollback", **rollback))
"""
FORGET = "import sys; from flows.rollout import forget; forget('cedar', sys.argv[1], 'ada')"


@pytest.fixture(scope="module")
def root(make_checkout_in, give_prefect_tables, tmp_path_factory):
    """A checkout with a run of all tenants, a run of one, and moves by hand, recorded by its own Prefect server."""
    made = make_checkout_in(tmp_path_factory.mktemp("forget"), ("alder", "birch", "cedar"))
    give_prefect_tables(made / "var/prefect")
    run_in(made, sys.executable, "-c", RUNS, str(made), own_prefect=True)
    return made


def list_files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nothing_of_the_tenant_stays_on_the_workspaces_own_server(root):
    home = root / "var" / "prefect"
    before = b"".join(path.read_bytes() for path in list_files(home))
    assert before.count(b"alder") > 20
    done = run_in(root, PREFIXFLEET, "forget", "alder", "--yes", own_prefect=True)
    assert "forgotten" in done.stdout + done.stderr
    for path in list_files(home):
        assert b"alder" not in path.read_bytes(), path
    kept = (home / "prefect.db").read_bytes()
    assert b"prefixfleet.tenant.birch" in kept
    assert b"birch: " in kept
    assert [one.action for one in read_history(Workspace(root).database, "alder")][-1] == "forget"


def list_all(url, kind):
    found = []
    while True:
        page = httpx.post(f"{url}/{kind}/filter", json={"limit": 200, "offset": len(found)}).json()
        found += page
        if len(page) < 200:
            return found


def list_naming(url, kind, tenant):
    return [one for one in list_all(url, kind) if tenant in json.dumps(one)]


def test_a_server_at_an_address_keeps_the_run_that_forgot_the_tenant(root, monkeypatch):
    kinds = ("flow_runs", "task_runs", "logs", "artifacts")
    with run_prefect_server(root / "var" / "prefect", find_free_port(), {}) as url:
        before = {kind: list_all(url, kind) for kind in kinds}
        assert all("cedar" in json.dumps(found) for kind, found in before.items() if kind != "task_runs")
        monkeypatch.setenv("PREFECT_API_URL", url)
        monkeypatch.delenv("PREFECT_LOGGING_LEVEL")
        run_in(root, sys.executable, "-c", FORGET, str(root))

        def find_last_line():
            return [one for one in list_naming(url, "logs", "cedar") if "forgotten" in one["message"]]

        wait_until(find_last_line, "the last line of the run that forgot cedar")
        after = {kind: list_all(url, kind) for kind in kinds}
        (own,) = list_naming(url, "flow_runs", "cedar")
        assert own["parameters"]["tenant"] == "cedar"
        assert {line["flow_run_id"] for line in list_naming(url, "logs", "cedar")} == {own["id"]}
        assert list_naming(url, "artifacts", "cedar") == list_naming(url, "task_runs", "cedar") == []
    kept = {one["id"] for one in after["flow_runs"]}
    of_birch = [one for one in before["flow_runs"] if one["parameters"].get("tenant") == "birch"]
    assert of_birch
    assert {one["id"] for one in of_birch} <= kept
    assert any("birch" in one["data"] for one in after["artifacts"])
