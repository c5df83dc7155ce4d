"""Flows of the rollout: the scheduled cycle, and a person's actions. Each rollback emits an event for automations."""

import time
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from components.otel.spans import open_root, traced
from components.stages.commands import forget as removal
from components.stages.last_failures import record_outcomes
from components.stages.outcome import TenantOutcome
from components.stages.rollout import corrections, manual
from components.stages.rollout import cycle as stage
from components.stages.rollout.cycle import TenantCycleResult
from components.stages.run_metrics import record_flow_end
from components.stages.workspace import Workspace
from flows.actors import make_actor
from flows.environment import prepare_environment
from flows.events import emit_events
from flows.forget import open_prefect_record
from flows.notifications import send_messages
from flows.run_names import name_run
from flows.states import make_end_state

CycleResult = tuple[list[TenantCycleResult], list[TenantOutcome]]


@flow(name="rollout", flow_run_name=name_run("cycle"))
def rollout(workspace: str = ".") -> State[CycleResult]:
    """Advance, promote or roll back every challenger, record alias changes made in MLflow, and deliver corrections."""
    prepare_environment(Path(workspace))
    opened_workspace, began_s = Workspace(Path(workspace)), time.time()
    with open_root("rollout") as span:
        try:
            results, failures = run_cycle(opened_workspace)
        finally:
            emit_events(opened_workspace)
            send_messages(opened_workspace)
        if any(one.action != "wait" for one in results):
            publish_moves(results)
        deliver_corrections(opened_workspace)
        done = [TenantOutcome(one.tenant, "roll out", "done") for one in results]
        record_outcomes(opened_workspace, [*done, *failures], implies_earlier_stages=False)
        record_flow_end(opened_workspace, "rollout", began_s, failures)
        span.count_failed({one.tenant for one in failures})
    return make_end_state(stage.summarize_cycle(results, failures), (results, failures), failed=bool(failures))


@flow(name="promote", flow_run_name=name_run("promote {tenant}"))
def promote(tenant: str, version: str | None = None, workspace: str = ".", by: str = "prefect") -> str:
    """Make a version champion: the named one, else the challenger, else the newest."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    champion = manual.promote(opened_workspace, tenant, version, make_actor(by))
    send_messages(opened_workspace)
    return champion.version


@flow(name="rollback", flow_run_name=name_run("roll back {tenant}"))
def rollback(tenant: str, to: str | None = None, workspace: str = ".", by: str = "prefect") -> str:
    """End a trial; or make the former champion, or the version in `to`, champion again."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    _, version = manual.roll_back(opened_workspace, tenant, to, make_actor(by))
    emit_events(opened_workspace)
    send_messages(opened_workspace)
    return version


@flow(name="hold", flow_run_name=name_run("{action} {tenant}"))
def hold(tenant: str, action: manual.HoldAction, workspace: str = ".", by: str = "prefect") -> None:
    """Pause or resume a trial; pin or unpin a champion."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    manual.hold(opened_workspace, tenant, action, make_actor(by))
    send_messages(opened_workspace)


@flow(name="forget", flow_run_name=name_run("forget {tenant}"))
def forget(tenant: str, workspace: str = ".", by: str = "prefect") -> None:
    """Remove a tenant everywhere and permanently. In Prefect only this run remains."""
    prepare_environment(Path(workspace))
    with open_prefect_record() as record:
        removal.forget(Workspace(Path(workspace)), tenant, make_actor(by), record)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, timeout_seconds=600)
@traced("cycle")
def run_cycle(workspace: Workspace) -> CycleResult:
    """Run one cycle. Idempotent: it starts from the present state."""
    return stage.run_cycle(workspace)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
@traced("deliver corrections")
def deliver_corrections(workspace: Workspace) -> None:
    """Write callers' corrections to the tenants' drops."""
    corrections.deliver_corrections(workspace)


@task(cache_policy=NO_CACHE)
def publish_moves(results: list[TenantCycleResult]) -> None:
    """Create the artifact `rollout-moves`."""
    rows = [
        {
            "tenant": one.tenant,
            "what": one.action,
            "champion": one.champion,
            "challenger": one.challenger,
            "why": one.why,
        }
        for one in results
    ]
    create_table_artifact(key="rollout-moves", table=rows, description=stage.summarize_cycle(results, []))
