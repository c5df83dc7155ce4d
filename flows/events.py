"""Prefect events on tenants, for automations: a version was rolled back, a prefix was rejected, requests drifted.

They come from an outbox in the database: what a command without Prefect did, or a flow that failed later, is emitted by
the next flow.
"""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from components.rollout.store import event_outbox
from components.rollout.types import LedgerEntry
from components.stages.workspace import Workspace

ROLLBACK_EVENT = "prefixfleet.rollback"
REJECTION_EVENT = "prefixfleet.version.rejected"
DRIFT_EVENT = "prefixfleet.drift"
"""The events' names; their resource is `prefixfleet.tenant.<tenant>`."""


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=5)
def emit_events(workspace: Workspace) -> None:
    """Emit an event for every rollback, rejection and drift that has none yet."""
    with event_outbox.take_events(workspace.database) as entries:
        for one in entries:
            emit_tenant_event(one)


def emit_tenant_event(one: LedgerEntry) -> None:
    """Emit the event of one entry of the ledger."""
    resource = {"prefect.resource.id": f"prefixfleet.tenant.{one.tenant}", "prefect.resource.name": one.tenant}
    payload = {name: getattr(one, name) for name in ("tenant", "from_version", "to_version", "why", "by", "at")}
    emit_event(
        event={"reject": REJECTION_EVENT, "drift": DRIFT_EVENT}.get(one.action, ROLLBACK_EVENT),
        resource=resource,
        payload=payload,
    )
