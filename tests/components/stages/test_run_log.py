"""What a run did with its tenants, in one row for each that had something to do."""

import json
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from components.config.console import ConsoleConfig
from components.config.notify import NotifyConfig
from components.rollout.store.database import open_database_url
from components.rollout.store.deliveries import claim_due
from components.rollout.store.runs import RunTenant, read_run_tenants, read_runs
from components.stages.outcome import TenantOutcome
from components.stages.run_log import WorkerSpan, begin_run_log, end_run_log
from components.stages.stamps import write_json
from components.stages.workspace import Workspace

NOTIFY = NotifyConfig(webhooks=[{"name": "crm", "url": "https://crm.example", "secret": "env:CRM"}])


@pytest.fixture
def workspace(tmp_path):
    database = open_database_url(f"sqlite:///{tmp_path}/runs.db")
    yield SimpleNamespace(
        database=database,
        get_output_folder=lambda stage, tenant="": tmp_path / stage / tenant,
        params=SimpleNamespace(notify=NOTIFY, console=ConsoleConfig(url="https://fleet.example/console")),
    )
    database.close()


def test_each_tenant_has_its_result_its_worker_and_its_cost(workspace, tmp_path):
    for tenant in ("alder", "birch", "dale"):
        write_json(tmp_path / "train" / tenant / "training.json", {"seconds": 12.5, "tokens": 640})
    span = WorkerSpan("s1", "host:1", "cpu", 10.0, 30.0)
    write_json(tmp_path / "base" / "base.json", {"digest": "sha256:77aa"})
    run = begin_run_log(workspace, "schedule", "ada", "a1b2c3")
    end_run_log(
        workspace,
        run,
        version="abc.dir",
        reasons=dict.fromkeys(("alder", "birch", "cedar", "dale"), "data changed"),
        planned=9,
        outcomes=[
            TenantOutcome("alder", "train", "done"),
            TenantOutcome("cedar", "train", "failed", "loss not finite"),
            TenantOutcome("fern", "evaluate", "done"),
            TenantOutcome("fern", "gate", "done"),
            TenantOutcome("gorse", "evaluate", "skipped"),
            TenantOutcome("gorse", "gate", "done"),
            TenantOutcome("older", "gate", "skipped"),
        ],
        rejected={
            "birch": "BLEU is below its floor",
            "gorse": "the floor was raised",
            "older": "refused by an earlier run",
        },
        promoted={"alder": "2", "elm": "3"},
        spans=dict.fromkeys(("alder", "birch", "cedar", "dale"), span),
    )
    place = {"shard": "s1", "worker": "host:1", "device": "cpu", "began_s": 10.0, "ended_s": 30.0}
    trained = {**place, "reason": "data changed", "device_seconds": 12.5, "training_tokens": 640}
    assert read_run_tenants(workspace.database, run) == [
        RunTenant(tenant="alder", result="promoted", detail="version 2", **trained),
        RunTenant(tenant="birch", result="rejected", detail="BLEU is below its floor", **trained),
        RunTenant(tenant="cedar", result="failed", detail="train: loss not finite", **place, reason="data changed"),
        RunTenant(tenant="dale", result="accepted", **trained),
        RunTenant(tenant="elm", result="promoted", detail="version 3"),
        RunTenant(tenant="fern", result="accepted"),
        RunTenant(tenant="gorse", result="rejected", detail="the floor was raised"),
    ]
    entry = read_runs(workspace.database, 1)[0]
    assert (entry.trigger, entry.by, entry.dataset_version, entry.unchanged) == ("schedule", "ada", "abc.dir", 2)
    assert (entry.code_version, entry.base_digest) == ("a1b2c3", "sha256:77aa")
    assert entry.ended_at
    night, failure = [json.loads(one.payload) for one in claim_due(workspace.database, "crm", 9, time.time())]
    assert (night["type"], night["data"]["tenants"]["failed"], night["data"]["tenants"]["unchanged"]) == (
        "night.ended",
        1,
        2,
    )
    assert [one["tenant"] for one in night["data"]["needs_person"]] == ["cedar", "birch", "gorse"]
    assert night["data"]["report"] == f"https://fleet.example/console/nights/{run}/report"
    assert (failure["type"], failure["data"]) == (
        "tenant.failed",
        {"tenant": "cedar", "run": run, "why": "train: loss not finite"},
    )


def test_a_tenant_that_was_trained_for_the_next_base_has_the_cost_of_that_training(make_root):
    root = make_root(("alder",), next_base={"path": "next"})
    write_json(root / "var/next-base/train/alder/training.json", {"seconds": 2.5, "tokens": 10})
    workspace = Workspace(root)
    span = WorkerSpan("", "host:1", "", 10.0, 30.0)
    with closing(workspace.database) as database:
        run = begin_run_log(workspace, "move to the next base", "ada")
        end_run_log(
            workspace,
            run,
            version="abc.dir",
            reasons={"alder": "it moves"},
            planned=1,
            outcomes=[],
            rejected={},
            promoted={"alder": "2"},
            spans={"alder": span},
            for_next_base={"alder"},
        )
        (row,) = read_run_tenants(database, run)
    assert (row.worker, row.device_seconds, row.training_tokens) == ("host:1", 2.5, 10)
