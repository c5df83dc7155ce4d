"""Flows of the rollout: the scheduled cycle, and a person's actions. Each rollback emits an event for automations.

The events come from an outbox: a rollback outside of a flow, or in a flow that failed later, is emitted by the next
flow.
"""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events import emit_event

from components.rollout.store import rollback_outbox
from components.rollout.types import LedgerEntry
from components.stages.commands import forget as removal
from components.stages.outcome import TenantOutcome
from components.stages.rollout import corrections, manual
from components.stages.rollout import cycle as stage
from components.stages.rollout.cycle import TenantCycleResult
from components.stages.workspace import Workspace
from flows.environment import prepare_environment
from flows.forget import open_prefect_record
from flows.states import make_end_state

ROLLBACK_EVENT = "prefixfleet.rollback"
"""The event's name; its resource is `prefixfleet.tenant.<tenant>`."""

CycleResult = tuple[list[TenantCycleResult], list[TenantOutcome]]


@flow(name="rollout")
def rollout(workspace: str = ".") -> State[CycleResult]:
    """Advance, promote or roll back every challenger, record alias changes made in MLflow, and deliver corrections."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    try:
        results, failures = run_cycle(opened_workspace)
    finally:
        emit_rollback_events(opened_workspace)
    if any(one.action != "wait" for one in results):
        publish_moves(results)
    deliver_corrections(opened_workspace)
    return make_end_state(stage.summarize_cycle(results, failures), (results, failures), failed=bool(failures))


@flow(name="promote")
def promote(tenant: str, version: str | None = None, workspace: str = ".", by: str = "prefect") -> str:
    """Make a version champion: the named one, else the challenger, else the newest."""
    prepare_environment(Path(workspace))
    return manual.promote(Workspace(Path(workspace)), tenant, version, by).version


@flow(name="rollback")
def rollback(tenant: str, to: str | None = None, workspace: str = ".", by: str = "prefect") -> str:
    """End a trial; or make the former champion, or the version in `to`, champion again."""
    prepare_environment(Path(workspace))
    opened_workspace = Workspace(Path(workspace))
    _, version = manual.roll_back(opened_workspace, tenant, to, by)
    emit_rollback_events(opened_workspace)
    return version


@flow(name="hold")
def hold(tenant: str, action: manual.HoldAction, workspace: str = ".", by: str = "prefect") -> None:
    """Pause or resume a trial; pin or unpin a champion."""
    prepare_environment(Path(workspace))
    manual.hold(Workspace(Path(workspace)), tenant, action, by)


@flow(name="forget")
def forget(tenant: str, workspace: str = ".", by: str = "prefect") -> None:
    """Remove a tenant everywhere and permanently. In Prefect only this run remains."""
    prepare_environment(Path(workspace))
    with open_prefect_record() as record:
        removal.forget(Workspace(Path(workspace)), tenant, by, record)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, timeout_seconds=600)
def run_cycle(workspace: Workspace) -> CycleResult:
    """Run one cycle. Idempotent: it starts from the present state."""
    return stage.run_cycle(workspace)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def emit_rollback_events(workspace: Workspace) -> None:
    """Emit an event for every rollback that has none yet."""
    with rollback_outbox.take_rollbacks(workspace.database) as rollbacks:
        for one in rollbacks:
            emit_rollback_event(one)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
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


def emit_rollback_event(one: LedgerEntry) -> None:
    """Emit the event of one rollback."""
    resource = {"prefect.resource.id": f"prefixfleet.tenant.{one.tenant}", "prefect.resource.name": one.tenant}
    payload = {name: getattr(one, name) for name in ("tenant", "from_version", "to_version", "why", "by", "at")}
    emit_event(event=ROLLBACK_EVENT, resource=resource, payload=payload)
