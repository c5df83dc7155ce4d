"""Events: what channels and webhooks can be told. Makes them of lines of the ledger and of runs; sends nothing."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.config.notify import ChannelConfig, EventGroup, NotifyConfig
from components.rollout.store.deliveries import NewDelivery
from components.rollout.store.runs import RESULTS, RunEntry, RunTenant
from components.rollout.types import LedgerAction, LedgerEntry

NIGHT_ENDED, NIGHT_STOPPED, TENANT_FAILED, TEST = "night.ended", "night.stopped", "tenant.failed", "test"
_OF_ACTION: Mapping[LedgerAction, tuple[str, EventGroup]] = {
    "challenge": ("version.challenged", "move"),
    "advance": ("version.advanced", "move"),
    "promote": ("version.promoted", "move"),
    "rollback": ("version.rolled_back", "rollback"),
    "withdraw": ("version.withdrawn", "move"),
    "reject": ("version.refused", "refusal"),
    "pause": ("trial.paused", "move"),
    "resume": ("trial.resumed", "move"),
    "pin": ("champion.pinned", "move"),
    "unpin": ("champion.unpinned", "move"),
    "adopt": ("tenant.adopted", "move"),
    "drift": ("tenant.drifted", "drift"),
}
"""Action in the ledger -> the event's type and group. `forget`, `prune` and keys are told to nobody."""
EVENT_TYPES: Mapping[str, EventGroup] = {
    **{event_type: group for event_type, group in _OF_ACTION.values()},  # noqa: C416
    TENANT_FAILED: "failure",
    NIGHT_ENDED: "night",
    NIGHT_STOPPED: "stopped",
}
"""Type of an event -> its group."""
_NEEDS_PERSON = ("failed", "rejected", "skipped")
_MAX_LISTED = 50
_MAX_WHY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetEvent:
    """Something that happened."""

    type: str
    at: str
    """UTC, ISO 8601."""
    tenant: str = ""
    """"": several tenants, or none."""
    data: Mapping[str, Any]
    is_needed: bool = True
    """Whether something needs a person; only of nights it may be false."""

    @property
    def group(self) -> EventGroup | None:
        """By which params.yaml chooses; None: a test."""
        return EVENT_TYPES.get(self.type)


def describe_move(entry: LedgerEntry) -> FleetEvent | None:
    """Return the event of a line of the ledger; None: nobody is told of it."""
    if entry.action not in _OF_ACTION:
        return None
    data = {name: getattr(entry, name) for name in ("tenant", "action", "from_version", "to_version", "by")}
    data |= {"why": entry.why[:_MAX_WHY]}
    data |= {name: entry.figures[name] for name in ("mode", "share") if name in entry.figures}
    return FleetEvent(type=_OF_ACTION[entry.action][0], at=entry.at, tenant=entry.tenant, data=data)


def describe_run(run: RunEntry, tenants: Sequence[RunTenant], link: str) -> list[FleetEvent]:
    """Return the event of a run that has ended, then one for each tenant that failed. `link`: its report; "": none."""
    waiting = sorted(
        (one for one in tenants if one.result in _NEEDS_PERSON),
        key=lambda one: (-RESULTS.index(one.result), one.tenant),
    )
    counts: dict[str, int] = {result: sum(one.result == result for one in tenants) for result in RESULTS}
    data: dict[str, Any] = {name: getattr(run, name) for name in ("trigger", "by", "began_at", "ended_at")}
    data |= {
        "run": run.id,
        "dataset_version": run.dataset_version,
        "tenants": {**counts, "unchanged": run.unchanged},
        "device_seconds": round(sum(one.device_seconds for one in tenants), 3),
        "needs_person": [
            {"tenant": one.tenant, "result": one.result, "why": one.detail[:_MAX_WHY]} for one in waiting[:_MAX_LISTED]
        ],
        "needs_person_count": len(waiting),
        "report": link or None,
    }
    failures = [
        FleetEvent(
            type=TENANT_FAILED,
            at=run.ended_at,
            tenant=one.tenant,
            data={"tenant": one.tenant, "run": run.id, "why": one.detail[:_MAX_WHY]},
        )
        for one in tenants
        if one.result == "failed"
    ]
    return [FleetEvent(type=NIGHT_ENDED, at=run.ended_at, data=data, is_needed=bool(waiting)), *failures]


def describe_stop(run: int, trigger: str, why: str) -> FleetEvent:
    """Return the event of a run that an error has stopped."""
    return FleetEvent(type=NIGHT_STOPPED, at=format_now(), data={"run": run, "trigger": trigger, "why": why[:_MAX_WHY]})


def make_deliveries(config: NotifyConfig, event: FleetEvent) -> list[NewDelivery]:
    """Return a delivery for each target that wants the event. The body's form is that of Standard Webhooks."""
    event_id = f"evt_{secrets.token_hex(16)}"
    body = {"id": event_id, "type": event.type, "timestamp": event.at, "fleet": config.fleet, "data": dict(event.data)}
    payload = json.dumps(body)
    return [
        NewDelivery(target=one.name, event=event_id, type=event.type, tenant=event.tenant, payload=payload)
        for one in config.targets
        if (one.events is None or event.group in one.events)
        and (event.is_needed or not (isinstance(one, ChannelConfig) and one.only_if_needed))
    ]


def format_now() -> str:
    """Return the time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
