"""A job whose tenant was not trained, as its budget is spent, ends with this reason and no older version."""

from components.fine_tuning.endings import BUDGET_SPENT, find_recorded_end, read_end
from components.rollout.store.runs import RunTenant, begin_run_entry, end_run_entry
from components.rollout.store.tuning_jobs import create_job
from components.stages.workspace import Workspace

WHY = "spent 2.0000 EUR of its budget of 2.00 EUR for 2026-11"


def make_job(workspace):
    return create_job(
        workspace.database, tenant="alder", place="", request={}, training_file="", validation_file="", max_waiting=1
    )


def test_a_skipped_retraining_ends_its_job_with_the_budget(make_root):
    workspace = Workspace(make_root(("alder",)))
    job = make_job(workspace)
    end = read_end(workspace, job, [], {}, {"alder": WHY})
    assert (end.error_code, end.error_message, end.version) == (BUDGET_SPENT, WHY, "")


def test_the_record_of_a_run_gives_the_same_end(make_root):
    workspace = Workspace(make_root(("alder",)))
    job = make_job(workspace)
    assert find_recorded_end(workspace, job) is None
    run = begin_run_entry(workspace.database, job.trigger, "ada", "2026-11-30T10:00:00+00:00")
    skipped = RunTenant(tenant="alder", result="skipped", detail=WHY)
    end_run_entry(workspace.database, run, "2026-11-30T10:01:00+00:00", "d" * 32, 0, [skipped])
    end = find_recorded_end(workspace, job)
    assert (end.error_code, end.error_message) == (BUDGET_SPENT, WHY)
