"""What a run did with its tenants, in one row for each that had something to do."""

from types import SimpleNamespace

import pytest

from components.rollout.store.database import open_database_url
from components.rollout.store.runs import RunTenant, read_run_tenants, read_runs
from components.stages.outcome import TenantOutcome
from components.stages.run_log import WorkerSpan, begin_run_log, end_run_log
from components.stages.stamps import write_json


@pytest.fixture
def workspace(tmp_path):
    database = open_database_url(f"sqlite:///{tmp_path}/runs.db")
    yield SimpleNamespace(database=database, get_output_folder=lambda stage, tenant: tmp_path / stage / tenant)
    database.close()


def test_each_tenant_has_its_result_its_worker_and_its_cost(workspace, tmp_path):
    for tenant in ("alder", "birch", "dale"):
        write_json(tmp_path / "train" / tenant / "training.json", {"seconds": 12.5})
    span = WorkerSpan("s1", "host:1", "cpu", 10.0, 30.0)
    run = begin_run_log(workspace, "schedule", "ada")
    end_run_log(
        workspace,
        run,
        version="abc.dir",
        reasons=dict.fromkeys(("alder", "birch", "cedar", "dale"), "data changed"),
        planned=9,
        outcomes=[
            TenantOutcome("alder", "train", "done"),
            TenantOutcome("cedar", "train", "failed", "loss not finite"),
        ],
        rejected={"birch": "BLEU is below its floor", "older": "refused by an earlier run"},
        promoted={"alder": "2", "elm": "3"},
        spans=dict.fromkeys(("alder", "birch", "cedar", "dale"), span),
    )
    place = {"shard": "s1", "worker": "host:1", "device": "cpu", "began_s": 10.0, "ended_s": 30.0}
    trained = {**place, "reason": "data changed", "device_seconds": 12.5}
    assert read_run_tenants(workspace.database, run) == [
        RunTenant(tenant="alder", result="promoted", detail="version 2", **trained),
        RunTenant(tenant="birch", result="rejected", detail="BLEU is below its floor", **trained),
        RunTenant(tenant="cedar", result="failed", detail="train: loss not finite", **place, reason="data changed"),
        RunTenant(tenant="dale", result="accepted", **trained),
        RunTenant(tenant="elm", result="promoted", detail="version 3"),
    ]
    entry = read_runs(workspace.database, 1)[0]
    assert (entry.trigger, entry.by, entry.dataset_version, entry.unchanged) == ("schedule", "ada", "abc.dir", 4)
    assert entry.ended_at
