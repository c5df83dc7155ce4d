"""Drops become champions through the flows: a Prefect server, git, DVC with a local remote, MLflow on sqlite."""

import base64
import json
import re
from collections import Counter

import pytest
from receivers import Receiver
from waiting import wait_until

from components.data import digest_cache
from components.errors import DataError, WorkspaceError
from components.rollout.store.event_outbox import take_events
from components.rollout.store.flow_ends import read_flow_ends
from components.rollout.store.runs import read_run_tenants, read_runs
from components.stages import plan
from components.stages.last_failures import read_failures
from components.stages.outcome import TenantOutcome
from components.stages.sharding.code_version import read_code_version
from components.stages.triggers.run_causes import RunCauses
from components.stages.workspace import Workspace
from flows import retrain
from flows.run_local import run_flow


def find_artifacts(key):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC"}
        found = client.request("POST", "/artifacts/filter", json=body).json()
    return [one["data"] for one in found]


def read_last_state(flow):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        body = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1}
        return client.request("POST", "/flow_runs/filter", json=body).json()[0]["state"]


class Examinations:
    """Counts how often a plan examines each tenant, and how often each data file is read for its digest."""

    def __init__(self, monkeypatch):
        self.tenants, self.files = Counter(), Counter()
        find_reason, hash_file = plan.find_reason, digest_cache._hash_file

        def count_tenant(workspace, item, base_digest):
            self.tenants[item.tenant] += 1
            return find_reason(workspace, item, base_digest)

        def count_file(path):
            if path.suffix == ".jsonl" and path.parts[-3] == "data":
                self.files["/".join(path.parts[-2:])] += 1
            return hash_file(path)

        monkeypatch.setattr(plan, "find_reason", count_tenant)
        monkeypatch.setattr(digest_cache, "_hash_file", count_file)
        monkeypatch.setattr(digest_cache, "MIN_AGE_NS", 0)  # digests of files just written are remembered too

    def take(self):
        """Return both counts since the last call."""
        taken = dict(self.tenants), dict(self.files)
        self.tenants.clear()
        self.files.clear()
        return taken


def list_splits(*tenants):
    return [f"{tenant}/{split}.jsonl" for tenant in tenants for split in ("train", "validation", "test")]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_drops_become_champions_and_a_run_without_changes_trains_nothing(
    make_checkout, write_tenant, write_lines, run_in, monkeypatch
):
    root = make_checkout((), tenants={"cedar": {"train": {"learning_rate": 1e30}}})
    for tenant in ("alder", "cedar"):
        write_tenant(root / "drops", tenant)
    (root / "drops" / "birch").mkdir(parents=True)
    (root / "drops" / "birch" / "train.jsonl").write_text('{"source": ""}\n{"source"\n')

    intake = run_flow("dataset", root, None)
    assert (intake.changed, list(intake.refused)) == (["alder", "cedar"], ["birch"])
    assert read_last_state("dataset")["type"] == "FAILED"
    assert not (root / "drops" / "alder").exists()
    assert intake.version == Workspace(root).dataset_version

    counts = Examinations(monkeypatch)
    first = run_flow("retrain", root, None)
    assert counts.take() == ({"alder": 1, "cedar": 1}, dict.fromkeys(list_splits("alder", "cedar"), 1))
    assert first.promoted == {"alder": "1"}
    assert [(one.tenant, one.stage) for one in first.failures] == [("birch", "version"), ("cedar", "train")]
    failures = read_failures(Workspace(root))
    assert {tenant: one.stage for tenant, one in failures.items()} == {"birch": "version", "cedar": "train"}
    state = read_last_state("retrain")
    assert state["type"] == "FAILED"
    assert state["message"] == "1 trained, 1 promoted, birch failed in version, cedar failed in train of 2 tenants"
    assert any("cedar" in page for page in find_artifacts("retrain-report"))
    assert json.loads(find_artifacts("retrain-results")[0])[0]["alias"] == "champion"
    (end,) = read_flow_ends(Workspace(root).database)
    assert (end.flow, end.failed_tenants, end.ended_s > end.began_s) == ("retrain", 2, True)
    assert not (root / "dvc.lock").exists()

    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("1.0e+30", "0.01"))
    (root / "drops" / "birch" / "train.jsonl").unlink()
    write_tenant(root / "drops", "birch")
    second = run_flow("retrain", root, None)
    every = ("alder", "birch", "cedar")
    assert counts.take() == (dict.fromkeys(every, 1), dict.fromkeys(list_splits("birch"), 1))
    assert (second.list_done("train"), second.promoted) == (["birch", "cedar"], {"birch": "1", "cedar": "1"})
    assert read_failures(Workspace(root)) == {}
    assert read_last_state("retrain")["type"] == "COMPLETED"
    assert "up to date" in run_in(root, "dvc", "repro").stdout

    third = run_flow("retrain", root, None)
    assert counts.take() == (dict.fromkeys(every, 1), {})
    assert {one.state for one in third.outcomes} == {"skipped"}
    assert (third.promoted, third.plan) == ({}, "nothing to train: the prefixes of all 3 tenants are up to date")

    with Workspace(root).lock(), pytest.raises(WorkspaceError, match="another run"):
        run_flow("retrain", root, None)
    runs = [one for one in read_runs(Workspace(root).database, 9) if one.counts]
    assert [one.counts for one in runs] == [{"promoted": 2}, {"failed": 2, "promoted": 1}]
    trained = read_run_tenants(Workspace(root).database, runs[0].id)[0]
    assert trained.began_s < trained.ended_s
    assert trained.worker
    with pytest.raises(DataError, match="did you mean 'alder'"):
        run_flow("retrain", root, ["adler"])
    (root / "data/alder/train.jsonl").write_text((root / "data/alder/validation.jsonl").read_text())
    with pytest.raises(WorkspaceError, match="dvc add data"):
        run_flow("retrain", root, None)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_failed_rollout_is_retried_and_its_failures_are_returned_after_the_last_attempt(monkeypatch):
    from prefect import flow

    attempts = []
    failed = [TenantOutcome("alder", "roll out", "failed", "MLflow does not answer")]

    def roll_out(_workspace, _versions, _outdated, *_, **__):
        attempts.append(1)
        return {"birch": "2"}, failed[: len(attempts) < succeeds_at]

    monkeypatch.setattr(retrain.register, "roll_out", roll_out)
    task = retrain.roll_out.with_options(retry_delay_seconds=0)
    rolling = flow(lambda: task(None, {}, [], RunCauses("hand", "ada", ())), name="rolling")
    succeeds_at = 2
    assert (rolling(), len(attempts)) == (({"birch": "2"}, []), 2)
    attempts.clear()
    succeeds_at = 9
    assert (rolling(), len(attempts)) == (({"birch": "2"}, failed), 3)


def count_events(name):
    from prefect.client.orchestration import get_client

    body = {"filter": {"event": {"name": [name]}}, "limit": 50}
    with get_client(sync_client=True) as client:
        return client.request("POST", "/events/filter", json=body).json()["events"]


@pytest.fixture
def told(prefect_api):
    """A receiver of webhooks, whose key is in a block of Prefect."""
    from prefect.blocks.system import Secret

    Secret(value=f"whsec_{base64.b64encode(b'0123456789abcdef').decode()}").save("crm-key", overwrite=True)
    receiver = Receiver()
    with receiver.run() as receiver.url:
        yield receiver


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_rejection_is_told_by_exit_code_output_state_event_ledger_and_table(make_checkout, call, told, monkeypatch):
    root = make_checkout(
        ("alder",),
        gate={"floors": {"bleu": 101.0}},
        console={"url": "https://fleet.example/console"},
        notify={"webhooks": [{"name": "crm", "url": told.url, "secret": "block:crm-key"}]},
    )
    result = call(root, "retrain")
    assert result.exit_code == 3, result.output
    assert "0 promoted, 1 rejected (alder) of 1 tenants" in result.stdout
    assert re.search(r"^rejected: alder: BLEU .* is below its floor of 101.$", result.stdout, re.M)
    state = read_last_state("retrain")
    assert (state["type"], state["name"]) == ("COMPLETED", "Rejected")
    assert "Rejected: alder: BLEU" in state["message"]
    assert "floor of 101" in find_artifacts("retrain-report")[0]
    assert "## Rejected by the gate" in find_artifacts("retrain-report")[0]
    event = wait_until(lambda: count_events("prefixfleet.version.rejected"), "the event")[0]
    assert event["resource"]["prefect.resource.id"] == "prefixfleet.tenant.alder"
    assert "floor of 101" in event["payload"]["why"]
    night, refusal = sorted((json.loads(body) for body, _ in told.received), key=lambda one: one["type"])
    assert (night["type"], refusal["type"]) == ("night.ended", "version.refused")
    assert night["data"]["report"] == find_artifacts("night-report")[0].partition("(")[2].rstrip(")")
    assert "floor of 101" in night["data"]["needs_person"][0]["why"]
    page = (root / "out" / "nights" / "1.html").read_text(encoding="utf-8")
    assert "1 tenant needs a person: 1 refused." in page
    assert "(before: the base alone)" in page
    assert read_runs(Workspace(root).database, 1)[0].code_version == read_code_version()

    assert call(root, "retrain").exit_code == 3  # still rejected, and told before
    moves = [json.loads(line) for line in call(root, "history", "alder", "--json").stdout.splitlines()]
    assert [(move["action"], move["by"]) for move in moves] == [("reject", "retrain")]
    with take_events(Workspace(root).database) as events:
        assert events == []
    gated = call(root, "stage", "gate")
    assert gated.exit_code == 0
    assert "rejected: alder: BLEU" in gated.stdout
    assert "1 refused" in call(root, "status").stdout.splitlines()[-1]

    def fail(*_):
        raise WorkspaceError("a gate that ends", "one that does not", "none")

    monkeypatch.setattr(retrain.gate, "gather_results", fail)
    with pytest.raises(WorkspaceError):
        run_flow("retrain", root)
    stopped = json.loads(told.received[-1][0])
    assert (stopped["type"], stopped["data"]["why"][:24]) == ("night.stopped", "wanted a gate that ends;")
