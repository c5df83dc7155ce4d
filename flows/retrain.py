"""The flow `retrain`: version -> plan -> train -> evaluate -> gate -> register -> roll out.

Holds order, retries and limits only; components/stages holds what each step does. A run on one machine writes the same
files as `dvc repro` and records them with DVC.
"""

import time
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import task_run

from components.logs import add_log_context, log_context
from components.otel.spans import open_root, traced
from components.registry.mlflow.versions import CHAMPION, Version
from components.stages import dataset, gate, register, rejections, run_log
from components.stages.last_failures import record_outcomes
from components.stages.next_base_view import find_moved_tenants
from components.stages.notifications import announce_stop
from components.stages.outcome import TenantOutcome, raise_on_failures
from components.stages.plan import Plan, plan
from components.stages.plan_budgets import leave_out_refused, warn_of_spent_budgets
from components.stages.progress import log_info
from components.stages.run_log import WorkerSpan
from components.stages.run_metrics import name_retraining, record_flow_end
from components.stages.server_params import warn_about_servers
from components.stages.sharding.code_version import read_code_version
from components.stages.sharding.heartbeats import describe_worker
from components.stages.sharding.training_estimates import record_device_rate
from components.stages.triggers import run_causes
from components.stages.triggers.run_causes import BY_HAND, RunCauses
from components.stages.usage_records import record_stored_bytes, record_trainings
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.events import emit_events
from flows.notifications import tell_at_end
from flows.report import publish_report, publish_results
from flows.retrain_result import RetrainResult
from flows.run_names import name_run
from flows.shard import shard
from flows.states import make_end_state, read_result
from flows.wave import run_wave

_ROLLOUT_RETRIES = 2
"""Retries of `roll_out` after the first attempt."""


@flow(name="retrain", flow_run_name=name_run("{trigger}: retrain"))
def retrain(
    workspace: str = ".", tenants: list[str] | None = None, full_check: bool = False, trigger: str = BY_HAND
) -> State[RetrainResult]:
    """Retrain every (or each named) tenant whose data, parameters or base changed, and roll out what passes the gate.

    `full_check`: read every file again instead of trusting remembered digests. `trigger`: what started the run.
    """
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace), full_check=full_check)
    flow_name, began_s = name_retraining(tenants), time.time()
    with tell_at_end(opened_workspace), opened_workspace.lock(), log_context(), open_root("retrain") as span:
        causes = begin_causes(opened_workspace, tenants, trigger)
        entry = begin_log(opened_workspace, causes)
        add_log_context(run=entry)
        span.set(run=entry)
        with announce_stop(opened_workspace, entry, trigger):
            version, refused = ensure_dataset_version(opened_workspace, tenants)
            tenants = dataset.leave_out_refused(opened_workspace, tenants, refused)
            planned = make_plan(opened_workspace, tenants)
            span.set(dataset_version=version, to_train=len(planned.items), unchanged=len(planned.skipped))
            run = RetrainResult(
                version, planned.sentence, outcomes=refused, causes=causes.list_lines(), refused=dict(planned.refused)
            )
            run.outcomes += train_and_evaluate(opened_workspace, planned, run)
            run.outcomes += judge_tenants(opened_workspace, run.list_passed("evaluate"))
            judged = planned.collect_fingerprints(run.list_passed("gate"))
            versions, failures = register_accepted(opened_workspace, judged, causes)
            run.outcomes += failures
            run.rejected = record_rejections(opened_workspace, judged, causes)
            outdated = [item.tenant for item in planned.items if item.outdated]
            run.promoted, failures = roll_out(opened_workspace, versions, outdated, causes)
            run.outcomes += failures
            record_stored(opened_workspace)
            if opened_workspace.params.next_base is not None:
                run.add_wave(run_wave(opened_workspace, moves=False, tenants=tenants))
            emit_events(opened_workspace)
            record_outcomes(opened_workspace, [*run.outcomes, *run.list_finished()])
            if tenants is None and not run.failures:
                commit_to_dvc(opened_workspace)
            run.rows = publish_results(opened_workspace, run, tenants)
            end_causes(opened_workspace, causes, run)
            end_log(opened_workspace, entry, planned, run)
            publish_report(opened_workspace, entry)
            record_flow_end(opened_workspace, flow_name, began_s, run.outcomes)
            span.count_failed({one.tenant for one in run.failures})
    return make_end_state(run.message, run, failed=bool(run.failures), rejected=bool(run.rejected))


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=10)
@traced("dataset version")
def ensure_dataset_version(workspace: Workspace, tenants: list[str] | None) -> tuple[str, list[TenantOutcome]]:
    """Take the waiting drops into a new version, and fetch missing data; retried, since the remote may not answer."""
    return dataset.ensure_version(workspace, tenants)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def begin_causes(workspace: Workspace, tenants: list[str] | None, trigger: str) -> RunCauses:
    """Find the open causes of the run's tenants."""
    return run_causes.begin_run(workspace, tenants, trigger)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def end_causes(workspace: Workspace, causes: RunCauses, run: RetrainResult) -> None:
    """Close the causes that the run worked on."""
    run_causes.end_run(workspace, causes, run.outcomes, run.sentence)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def begin_log(workspace: Workspace, causes: RunCauses) -> int:
    """Record that the run begins; return its id."""
    return run_log.begin_run_log(workspace, causes.trigger, causes.by, read_code_version())


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def end_log(workspace: Workspace, entry: int, planned: Plan, run: RetrainResult) -> None:
    """Record what became of the run's tenants, and where they were trained."""
    run_log.end_run_log(
        workspace,
        entry,
        version=run.version,
        reasons=planned.reasons | run.next_base_reasons,
        planned=len(planned.items) + len(planned.skipped) + len(run.next_base_reasons) + len(run.refused),
        outcomes=run.outcomes,
        rejected=run.rejected,
        promoted=run.promoted,
        spans=run.spans,
        for_next_base=run.next_base_reasons,
        refused=run.refused,
    )


@task(cache_policy=NO_CACHE)
@traced("plan")
def make_plan(workspace: Workspace, tenants: list[str] | None) -> Plan:
    """Make the run's only plan. Asks MLflow first, so that a run without MLflow ends before training.

    Tenants that have moved to the next base are left out, and tenants whose budget is spent are not trained.
    """
    workspace.registry.poll_aliased(CHAMPION)
    warn_about_servers(workspace)
    planned = plan(workspace, tenants).leave_out(find_moved_tenants(workspace))
    record_trainings(workspace, planned.collect_fingerprints())  # of a killed run, before budgets are compared
    warn_of_spent_budgets(workspace, planned)
    planned = leave_out_refused(workspace, planned)
    log_info(planned.sentence)
    return planned


def train_and_evaluate(workspace: Workspace, planned: Plan, run: RetrainResult) -> list[TenantOutcome]:
    """Run shards on workers, if params.yaml names some, else one in this process; record in `run` which and when."""
    config, tenants = workspace.params.workers, list(planned.collect_fingerprints())
    outcomes: list[TenantOutcome] = []
    if config is not None:
        from flows.dispatch import train_on_workers

        champions = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]
        sent = train_on_workers(workspace, planned, config, champions)
        outcomes, tenants = sent.outcomes, sent.remaining
        run.workers, run.spans = sent.workers, dict(sent.spans)
    if tenants or config is None:
        reasons = {tenant: reason for tenant, reason in planned.reasons.items() if tenant in tenants}
        fingerprints, began_s = planned.collect_fingerprints(tenants), time.time()
        outcomes += read_result(shard(str(workspace.root), fingerprints, reasons, return_state=True))
        span = WorkerSpan("", describe_worker(), "", began_s, time.time())
        run.spans |= dict.fromkeys(reasons, span)
    record_trainings(workspace, planned.reasons)
    trained = {one.tenant for one in outcomes if one.stage == "train" and one.state == "done"}
    record_device_rate(workspace, planned, trained)
    gather_results(workspace)
    return outcomes


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=5)
def record_stored(workspace: Workspace) -> None:
    """Record the bytes of the tenants' versions as usage."""
    record_stored_bytes(workspace)


@task(cache_policy=NO_CACHE)
def gather_results(workspace: Workspace) -> None:
    """Collect all tenants' loss curves and scores; remove the results of tenants that have no data."""
    dataset.gather_results(workspace)


@task(cache_policy=NO_CACHE)
@traced("gate")
def judge_tenants(workspace: Workspace, tenants: list[str]) -> list[TenantOutcome]:
    """Judge every evaluated tenant."""
    outcomes = [gate.try_judge_tenant(workspace, tenant) for tenant in tenants]
    gate.gather_results(workspace)
    return outcomes


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, timeout_seconds=1800)
@traced("register")
def register_accepted(
    workspace: Workspace, fingerprints: dict[str, str], causes: RunCauses
) -> tuple[dict[str, Version], list[TenantOutcome]]:
    """Register accepted prefixes. Idempotent: a registered prefix gets no second version."""
    return register.register(workspace, fingerprints, causes.describe)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
@traced("record rejections")
def record_rejections(workspace: Workspace, fingerprints: dict[str, str], causes: RunCauses) -> dict[str, str]:
    """Tell new rejections to MLflow, the ledger and the outbox of events; return tenant -> why, of all rejections."""
    return rejections.record_rejections(workspace, fingerprints, causes.describe)


@task(cache_policy=NO_CACHE, retries=_ROLLOUT_RETRIES, retry_delay_seconds=5)
@traced("roll out")
def roll_out(
    workspace: Workspace, versions: dict[str, Version], outdated: list[str], causes: RunCauses
) -> tuple[dict[str, str], list[TenantOutcome]]:
    """Roll out new versions according to the policy. Retried on failures; the last attempt returns them."""
    promoted, failures = register.roll_out(workspace, versions, outdated, causes.describe)
    if task_run.run_count <= _ROLLOUT_RETRIES:
        raise_on_failures(failures)
    return promoted, failures


@task(cache_policy=NO_CACHE, retries=1, retry_delay_seconds=10)
@traced("commit to DVC")
def commit_to_dvc(workspace: Workspace) -> None:
    """Record the run's files in DVC, as `dvc repro` does."""
    dataset.commit_to_dvc(workspace)
