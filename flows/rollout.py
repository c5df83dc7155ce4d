"""The rollout's cycle on a schedule, and a person's moves as flows. Each rollback opens an event for automations.

Also one that was made beside a flow, or in one that failed later: the next flow finds it written down.
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
    """Advance, promote or take back every challenger; record what was moved in MLflow; deliver callers' corrections."""
    prepare_environment(Path(workspace))
    place = Workspace(Path(workspace))
    try:
        rolled, troubles = run_cycle(place)
    finally:
        emit_rollback_events(place)
    if any(one.action != "wait" for one in rolled):
        publish_moves(rolled)
    deliver_corrections(place)
    return make_end_state(stage.summarize_cycle(rolled, troubles), (rolled, troubles), failed=bool(troubles))


@flow(name="promote")
def promote(tenant: str, version: str | None = None, workspace: str = ".", by: str = "prefect") -> str:
    """Make the named version, else the one on trial, else the newest, champion."""
    prepare_environment(Path(workspace))
    return manual.promote(Workspace(Path(workspace)), tenant, version, by).version


@flow(name="rollback")
def rollback(tenant: str, to: str | None = None, workspace: str = ".", by: str = "prefect") -> str:
    """End a trial, or go back to the former champion or to the version named."""
    prepare_environment(Path(workspace))
    place = Workspace(Path(workspace))
    _, found = manual.roll_back(place, tenant, to, by)
    emit_rollback_events(place)
    return found


@flow(name="hold")
def hold(tenant: str, action: manual.HoldAction, workspace: str = ".", by: str = "prefect") -> None:
    """Pause or resume a trial; pin or unpin a champion."""
    prepare_environment(Path(workspace))
    manual.hold(Workspace(Path(workspace)), tenant, action, by)


@flow(name="forget")
def forget(tenant: str, workspace: str = ".", by: str = "prefect") -> None:
    """Remove a tenant for good, everywhere; of Prefect's record this run stays."""
    prepare_environment(Path(workspace))
    with open_prefect_record() as record:
        removal.forget(Workspace(Path(workspace)), tenant, by, record)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5, timeout_seconds=600)
def run_cycle(place: Workspace) -> CycleResult:
    """One cycle; safe to try again, since it begins with what stands."""
    return stage.run_cycle(place)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def emit_rollback_events(place: Workspace) -> None:
    """Open the events of all rollbacks that have none yet."""
    with rollback_outbox.take_rollbacks(place.database) as rollbacks:
        for one in rollbacks:
            emit_rollback_event(one)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def deliver_corrections(place: Workspace) -> None:
    """Put corrections into the tenants' drops."""
    corrections.deliver_corrections(place)


@task(cache_policy=NO_CACHE)
def publish_moves(rolled: list[TenantCycleResult]) -> None:
    """Leave the artifact `rollout-moves`."""
    rows = [
        {
            "tenant": one.tenant,
            "what": one.action,
            "champion": one.champion,
            "challenger": one.challenger,
            "why": one.why,
        }
        for one in rolled
    ]
    create_table_artifact(key="rollout-moves", table=rows, description=stage.summarize_cycle(rolled, []))


def emit_rollback_event(one: LedgerEntry) -> None:
    """Open the event."""
    resource = {"prefect.resource.id": f"prefixfleet.tenant.{one.tenant}", "prefect.resource.name": one.tenant}
    payload = {name: getattr(one, name) for name in ("tenant", "from_version", "to_version", "why", "by", "at")}
    emit_event(event=ROLLBACK_EVENT, resource=resource, payload=payload)
