"""A run works on its tenants' open causes, and closes them when it has ended."""

import pytest

from components.rollout.store.causes import Cause, open_causes, read_newest_causes, read_open_causes
from components.stages.outcome import TenantOutcome
from components.stages.triggers.run_causes import begin_run, end_run, find_due_causes, name_trigger
from components.stages.workspace import Workspace


@pytest.fixture
def workspace(make_root):
    opened = Workspace(make_root(("alder", "birch")))
    with opened.database.transaction("to open causes") as connection:
        for tenant in ("alder", "birch"):
            open_causes(connection, [Cause(tenant=tenant, id="arrival-1", kind="arrival", why="new data arrived")])
    return opened


def test_a_run_of_named_tenants_closes_their_causes_with_its_result(workspace):
    causes = begin_run(workspace, ["alder"], "arrival")
    assert causes.describe("alder") == "new data arrived"
    assert causes.list_lines() == ["alder: new data arrived"]
    end_run(workspace, causes, [TenantOutcome("alder", "train", "done")], "1 trained")
    assert [one.tenant for one in read_open_causes(workspace.database)] == ["birch"]
    results = {one.tenant: one.result for one in read_newest_causes(workspace.database, 9)}
    assert results == {"alder": "1 trained", "birch": ""}


def test_a_cause_whose_tenant_failed_is_closed_with_the_failure(workspace):
    causes = begin_run(workspace, None, "schedule")
    end_run(workspace, causes, [TenantOutcome("birch", "train", "failed", "too long")], "1 trained")
    results = {one.tenant: one.result for one in read_newest_causes(workspace.database, 9)}
    assert results == {"alder": "1 trained", "birch": "failed to train: too long"}


def test_a_run_that_never_ends_leaves_its_causes_for_the_next_one(workspace):
    begin_run(workspace, None, "arrival", lambda: 50.0)
    again = find_due_causes(workspace, lambda: 50.0)
    assert [(one.tenant, one.tries) for one in again] == [("alder", 1), ("birch", 1)]
    assert name_trigger(again) == "arrival"
    begin_run(workspace, None, "arrival", lambda: 50.0)
    assert find_due_causes(workspace, lambda: 51.0) == []


@pytest.mark.parametrize(
    ("trigger", "reason"),
    [
        ("hand", "ada@desk started a run"),
        ("schedule", "the schedule started a run"),
        ("drift", "of a run after drift"),
        ("fine-tuning job ftjob-1", "fine-tuning job ftjob-1 asked for it"),
    ],
)
def test_a_tenant_without_a_cause_of_its_own_has_that_of_the_run(workspace, monkeypatch, trigger, reason):
    monkeypatch.setattr("components.stages.triggers.run_causes.find_current_user", lambda: "ada@desk")
    causes = begin_run(workspace, ["cedar"], trigger)
    assert causes.describe("cedar") == reason
    assert causes.list_lines() == [reason]


def test_a_run_of_a_job_names_the_job_and_the_tenants_own_causes(workspace):
    causes = begin_run(workspace, ["alder"], "fine-tuning job ftjob-1")
    job = "fine-tuning job ftjob-1 asked for it"
    assert causes.describe("alder") == f"{job}; new data arrived"
    assert causes.list_lines() == [job, "alder: new data arrived"]
