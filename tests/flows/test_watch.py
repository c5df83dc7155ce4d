"""A delivery starts one retraining of its tenant: a Prefect server, git, DVC with a local remote, MLflow on sqlite."""

import os

import pytest
from mlflow import MlflowClient

from components.errors import WorkspaceError
from components.rollout.store.causes import read_newest_causes
from components.rollout.store.flow_ends import read_flow_ends
from components.rollout.store.ledger import read_history
from components.stages import dataset
from components.stages.workspace import Workspace
from flows.retraining import watch_local
from flows.run_local import run_flow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


def list_runs(flow):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        body = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 5}
        return client.request("POST", "/flow_runs/filter", json=body).json()


def test_only_the_tenant_whose_data_arrived_is_retrained_once_and_every_record_says_why(
    make_checkout, write_tenant, monkeypatch, call
):
    arrival = {"source": "../incoming", "quiet_seconds": 0.0}
    root = make_checkout(("alder", "birch"), triggers={"arrival": arrival})
    incoming = root.parent / "incoming"
    incoming.mkdir()
    assert run_flow("watch", root).run is None

    write_tenant(incoming, "birch", start=500)
    with monkeypatch.context() as patch:

        def fail(*_):
            raise WorkspaceError("a DVC remote that answers", "none", "start it")

        patch.setattr(dataset, "ensure_version", fail)
        patch.setattr("flows.retrain.ensure_dataset_version.retries", 0)
        with pytest.raises(WorkspaceError, match="a DVC remote that answers"):
            run_flow("watch", root)
    assert [(one.tries, one.closed_at) for one in read_newest_causes(Workspace(root).database, 9)] == [(1, "")]

    result = run_flow("watch", root)
    why = result.causes[0].why
    assert (result.look.opened, result.run.promoted) == ([], {"birch": "1"})
    assert result.run.causes == [f"birch: {why}"]
    cause = read_newest_causes(Workspace(root).database, 9)[0]
    assert (cause.tries, cause.result) == (2, "1 trained, 1 promoted of 1 tenants")
    assert run_flow("watch", root).run is None
    assert [one.flow for one in read_flow_ends(Workspace(root).database)] == ["retrain-named", "watch"]

    last = list_runs("retrain")[0]
    assert last["name"].startswith("arrival: retrain birch, ")
    assert (last["parameters"]["trigger"], last["tags"]) == ("arrival", ["cause:arrival"])
    registry = Workspace(root).registry
    run = MlflowClient(tracking_uri=registry.uri).get_run(registry.find_versions("birch")[0].run_id)
    assert run.data.tags["cause"] == why
    assert read_history(Workspace(root).database, "birch")[-1].why == f"it passed the gate; retrained because {why}"
    shown = call(root, "causes")
    assert "arrival" in shown.stdout
    assert "1 trained, 1 promoted" in " ".join(shown.stdout.split())


def test_a_look_without_a_named_server_starts_no_flow_if_nothing_arrived(make_checkout, write_tenant, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL")
    root = make_checkout(("alder",), triggers={"arrival": {"quiet_seconds": 60.0}})
    write_tenant(root / "drops", "alder")
    os.utime(root / "drops" / "alder" / "train.jsonl")
    look, run = watch_local(root)
    assert (look.waiting, run) == (["alder"], None)
    assert [one.flow for one in read_flow_ends(Workspace(root).database)] == ["watch"]
    assert not (root / "var" / "prefect").exists()


def test_a_refused_first_drop_of_a_new_tenant_closes_its_cause_and_holds_up_nobody(make_checkout, write_lines):
    root = make_checkout(("alder",), triggers={"arrival": {"quiet_seconds": 0.0}})
    write_lines(root / "drops" / "cedar" / "train.jsonl", [{"source": ""}])
    result = run_flow("watch", root)
    assert [(one.tenant, one.stage) for one in result.run.failures] == [("cedar", "version")]
    assert read_newest_causes(Workspace(root).database, 9)[0].result.startswith("failed to version: ")
    assert run_flow("watch", root).causes == []
