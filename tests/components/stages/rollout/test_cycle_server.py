"""A cycle, and the removal of a tenant, on a real `mlflow server`."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_server import run_server

from components.registry.mlflow.runs import RunLog
from components.rollout.store.ledger import read_history
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.rollout.cycle import run_cycle, summarize_cycle

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path, empty_mlflow):
    """The URL of a server with an empty database."""
    database = Path(shutil.copy(empty_mlflow, tmp_path / "server.db"))
    with run_server(database, f"{tmp_path}/store") as started:
        yield started.uri


def test_a_trial_and_a_removal_over_http(server, make_fleet, monkeypatch, tmp_path):
    fleet = make_fleet({"policy": "canary", "steps": [{"share": 0.5}]})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    fleet.client = MlflowClient(tracking_uri=server)
    for tenant in ("alder", "birch"):
        fleet.register(tenant, 2)
        fleet.set_aliases(tenant, champion="1", challenger="2")
    results, failures = run_cycle(fleet.workspace)
    assert summarize_cycle(results, failures) == "2 moved in MLflow, 2 promoted"
    assert fleet.read_aliases("alder") == {"champion": "2"}
    assert manual.roll_back(fleet.workspace, "alder", "1", by=Actor("ada")) == ("2", "1")
    moves = [(one.by, one.action) for one in read_history(fleet.workspace.database, "alder")]
    assert moves == [("mlflow", "challenge"), ("rollout", "promote"), ("ada", "rollback")]

    registry = fleet.workspace.registry
    (tmp_path / "report.json").write_text("{}")
    for tenant in ("alder", "birch"):
        registry.log_run(tenant, RunLog(files=[tmp_path / "report.json"]))
    registry.remove("alder")
    registry.remove("alder")
    (hidden,) = registry.find_remaining("alder")
    assert "mlflow gc --run-ids" in hidden
    assert len(list((tmp_path / "store").rglob("report.json"))) == 1
    assert len(registry.find_remaining("birch")) == 4
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", f"sqlite:///{tmp_path}/server.db")
    registry = fleet.workspace.registry
    champions = {tenant: version.version for tenant, version in registry.poll_aliased("champion")["champion"].items()}
    assert champions == {"birch": "2"}
    assert champions == {tenant: version.version for tenant, version in registry.find_champions().items()}
    registry.remove("alder")
    assert registry.find_remaining("alder") == []
    assert len(registry.find_remaining("birch")) == 4
    assert b"alder" not in (tmp_path / "server.db").read_bytes()
