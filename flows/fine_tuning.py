"""Run a job of the fine-tuning API to its end: its drop, its hyperparameters, a retraining, and the job's result.

The retraining is a run of the deployment `retrain/on-demand` where a Prefect server is named that has it, else of the
flow in this process. Knows the order of the steps; components/fine_tuning knows each.
"""

import time
from pathlib import Path

from components.errors import ConfigError, LockHeldError, PrefixFleetError
from components.fine_tuning import endings
from components.fine_tuning.endings import JobEnd
from components.fine_tuning.preparation import prepare, undo_unless_succeeded
from components.otel.spans import open_root
from components.rollout.store.tuning_jobs import TuningJob, add_event, find_job
from components.stages.preflight import check_ready
from components.stages.progress import log_warning
from components.stages.workspace import Workspace
from flows.retraining import retrain_local
from flows.run_local import find_named_server

_RETRY_SECONDS = 1.0


def run_job(root: Path, job_id: str) -> None:
    """Run a job that the server has started.

    Raises:
        ConfigError: there is no such job, or the server has not started it.
        WorkspaceError: the database does not answer.
        PrefixFleetError: why the job failed, which is recorded as well.
    """
    workspace = Workspace(root)
    job = find_job(workspace.database, job_id, None)
    if job is None or job.status != "running":
        got = f"{job_id!r}, " + (f"which is {job.status}" if job else "which does not exist")
        raise ConfigError("the id of a job that the server started", got, "create jobs by POST /v1/fine_tuning/jobs")
    end = endings.make_failure(endings.PROCESS_ENDED, "the process of the job was stopped", workspace.root)
    try:
        with open_root("fine-tuning job", tenant=job.tenant):
            end = _run(workspace, job)
    except PrefixFleetError as problem:
        end = endings.describe_error(problem, workspace.root)
        raise
    finally:
        endings.record_end(workspace, job, end, time.time())
        undo_unless_succeeded(workspace)


def _run(workspace: Workspace, job: TuningJob) -> JobEnd:
    check_ready(workspace.root)
    has_waited = False
    while True:
        try:
            with workspace.lock():
                prepare(workspace, job)
            return _retrain(workspace, job)
        except LockHeldError as problem:
            if not has_waited:
                log_warning(f"{job.id} waits: {problem}")
                add_event(workspace.database, job, "waits until another run in this workspace ends")
                has_waited = True
            undo_unless_succeeded(workspace)
            time.sleep(_RETRY_SECONDS)


def _retrain(workspace: Workspace, job: TuningJob) -> JobEnd:
    if find_named_server():
        from flows.on_demand import run_on_demand

        ended = run_on_demand(job.tenant, job.trigger)
        if ended is not None:
            if (recorded := endings.find_recorded_end(workspace, job)) is not None:
                return recorded
            is_completed, words = ended
            if is_completed:  # nothing changed, so the run has no record of the tenant
                return endings.read_end(workspace, job, [], {}, {})
            return endings.make_failure(endings.TRAINING_FAILED, words, workspace.root)
    run = retrain_local(workspace.root, [job.tenant], trigger=job.trigger)
    return endings.read_end(workspace, job, run.outcomes, run.rejected, run.refused)
