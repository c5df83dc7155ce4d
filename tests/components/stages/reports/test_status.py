"""The status of tenants as their versions, trials, refusals, failures and aliases change."""

import shutil

import pytest
from registered_versions import open_mlflow

from components.errors import DataError
from components.stages import evaluate, gate, register, train
from components.stages.last_failures import record_outcomes
from components.stages.outcome import TenantOutcome
from components.stages.plan import plan
from components.stages.reports.status import read_status
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.workspace import Workspace


def read_one(root, tenant="alder"):
    (row,) = read_status(Workspace(root), [tenant]).tenants
    return row


def make_version(root, tenant="alder"):
    for stage in (train, evaluate, gate):
        stage.run(Workspace(root), [tenant])
    workspace = Workspace(root)
    versions, _ = register.register(workspace, plan(workspace, [tenant]).collect_fingerprints())
    register.roll_out(workspace, versions, [])


@pytest.fixture(scope="module")
def registered(make_root_in, tmp_path_factory):
    """A workspace of two tenants, of which alder has a champion."""
    root = make_root_in(tmp_path_factory.mktemp("registered"), ("alder", "birch"))
    make_version(root)
    return root


@pytest.fixture
def served_root(registered, tmp_path):
    return shutil.copytree(registered, tmp_path / "workspace")


def test_a_tenant_is_new_then_healthy_then_stale(make_root, set_params, write_tenant):
    root = make_root(("alder", "birch"))
    row = read_one(root)
    assert (row.state, row.examples, row.champion, row.bleu, row.verdict) == ("new", (12, 4, 6), "", None, None)

    make_version(root)
    birch, alder = read_status(Workspace(root)).tenants
    assert (alder.tenant, alder.state, alder.champion, alder.reason) == ("alder", "healthy", "1", "")
    assert alder.bleu >= 0
    assert alder.verdict.accepted
    assert (birch.state, birch.reason) == ("new", "no prefix yet: the next `prefixfleet retrain` trains")

    write_tenant(root / "data", "alder", start=5)
    row = read_one(root)
    assert (row.state, row.reason) == ("stale", "data changed: the next `prefixfleet retrain` trains")
    assert row.data_digest != alder.data_digest
    train.run(Workspace(root), ["alder"])
    assert read_one(root).reason == "trained and not gated: the next `prefixfleet retrain` gates it"
    for stage in (evaluate, gate):
        stage.run(Workspace(root), ["alder"])
    assert read_one(root).reason == "accepted and not registered: the next `prefixfleet retrain` registers it"
    set_params(root, train={"seed": 3})
    assert read_one(root).reason.startswith("train.seed changed")


def test_a_version_on_trial_is_not_stale_and_a_rolled_back_one_is_said(make_root, write_tenant):
    root = make_root(("alder",), rollout={"policy": "canary", "steps": [{"share": 0.1, "hours": 1.0}, {"share": 1.0}]})
    make_version(root)
    write_tenant(root / "data", "alder", start=5)
    make_version(root)
    row = read_one(root)
    assert (row.state, row.champion, row.trial.version, row.trial.share) == ("on-trial", "1", "2", 0.1)
    assert "waiting for 1.0 more hours at 10%" in row.reason
    assert row.to_json()["trial"]["deadline"] > "2026"

    write_tenant(root / "data", "alder", start=7)
    assert read_one(root).notes == ["the next run trains: data changed"]
    write_tenant(root / "data", "alder", start=5)
    manual.roll_back(Workspace(root), "alder", by=Actor("ada"))
    row = read_one(root)
    assert (row.state, row.reason) == ("rolled-back", "version 2 -> 1 by ada: by hand")

    manual.hold(Workspace(root), "alder", "pin", Actor("ada"))
    assert read_one(root).pinned
    assert read_one(root).notes == ["version 1 is pinned"]


def test_a_refused_tenant_has_the_reason_and_a_hint_after_the_floor_is_changed(make_root, set_params):
    root = make_root(("alder",), gate={"floors": {"bleu": 101.0}})
    for stage in (train, evaluate, gate):
        stage.run(Workspace(root))
    row = read_one(root)
    assert row.state == "refused"
    assert "below its floor of 101." in row.reason
    assert "other settings" not in row.reason
    set_params(root, gate={"floors": {"bleu": 0.0}})
    row = read_one(root)
    assert row.state == "refused"
    assert "other settings than now (gate.floors): the next `prefixfleet retrain` gates again." in row.reason
    gate.run(Workspace(root))
    assert read_one(root).state == "new"


def test_failures_come_first_until_a_success(make_root):
    root = make_root(("alder", "birch"))
    record_outcomes(Workspace(root), [TenantOutcome("birch", "evaluate", "failed", "out of memory")])
    fleet = read_status(Workspace(root))
    assert [(row.tenant, row.state) for row in fleet.tenants] == [("birch", "failed"), ("alder", "new")]
    assert fleet.tenants[0].reason.endswith("out of memory")
    assert fleet.count_states() == {"failed": 1, "new": 1}


def test_a_champion_that_is_no_version_of_ours_is_broken_and_a_moved_alias_is_noted(served_root):
    root = served_root
    client = open_mlflow(Workspace(root).registry)
    client.create_model_version("prefix-alder", (root / "elsewhere").as_uri())
    client.set_registered_model_alias("prefix-alder", "champion", "2")
    row = read_one(root)
    assert (row.state, row.champion) == ("broken", "2")
    assert "not registered by PrefixFleet" in row.reason
    assert row.notes[0] == "champion 1 -> 2, moved in MLflow: the next rollout cycle records it"


def test_a_champion_of_another_workspace_is_foreign_and_a_renamed_model_is_broken(served_root):
    root = served_root
    read_one(root)  # the copied workspace takes over its versions
    client = open_mlflow(Workspace(root).registry)
    client.set_model_version_tag("prefix-alder", "1", "owner", "another-workspace")
    row = read_one(root)
    assert (row.state, row.champion) == ("foreign", "1")
    assert "belongs to workspace another-workspace; `prefixfleet adopt alder`" in row.reason
    client.rename_registered_model("prefix-alder", "prefix-birch")
    row = read_one(root, "birch")
    assert row.state == "broken"
    assert "registered for alder" in row.reason


def test_a_champion_whose_files_are_gone_or_damaged_is_broken(served_root):
    root = served_root
    (tensors,) = (root / "var/mlflow/artifacts").rglob("prefix.safetensors")
    content = tensors.read_bytes()
    tensors.write_bytes(content[:-1] + b"\0")
    row = read_one(root)
    assert row.state == "broken"
    assert "damaged" in row.reason
    tensors.unlink()
    assert "its files are gone: no prefix.safetensors in" in read_one(root).reason
    tensors.write_bytes(content)
    assert read_one(root).state == "healthy"


def test_a_refused_drop_is_a_failure_only_while_it_waits(make_root, write_tenant):
    root = make_root(("alder",))
    record_outcomes(Workspace(root), [TenantOutcome("alder", "version", "failed", "no valid line")])
    assert read_one(root).state == "new"
    write_tenant(root / "drops", "alder")
    fleet = read_status(Workspace(root))
    assert (fleet.tenants[0].state, fleet.drops) == ("failed", ["alder"])


def test_a_tenant_without_data_is_refused(make_root):
    with pytest.raises(DataError, match="'cedar'"):
        read_status(Workspace(make_root(("alder",))), ["cedar"])
