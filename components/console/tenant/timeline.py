"""What happened to a tenant, newest first: the ledger's entries and the causes of its retrainings. Knows no page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from components.rollout.store.causes import Cause
from components.rollout.types import LedgerEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One event."""

    at: str
    action: str
    by: str
    from_version: str = ""
    to_version: str = ""
    why: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""


def make_timeline(history: Iterable[LedgerEntry], causes: Iterable[Cause]) -> list[TimelineEntry]:
    """Return all events, newest first; those of one second in the opposite order of the arguments."""
    moves = [
        TimelineEntry(
            at=one.at,
            action=one.action,
            by=one.by,
            from_version=one.from_version,
            to_version=one.to_version,
            why=one.why,
            figures=one.figures,
            origin=one.origin,
        )
        for one in history
    ]
    opened = [
        TimelineEntry(at=one.opened_at, action=one.kind, by=_name_opener(one), why=_describe_cause(one))
        for one in causes
    ]
    return sorted([*opened, *moves], key=lambda one: datetime.fromisoformat(one.at))[::-1]


def _name_opener(cause: Cause) -> str:
    return "API" if cause.kind == "fine-tuning" else "watch"


def _describe_cause(cause: Cause) -> str:
    if cause.closed_at:
        return f"{cause.why}; {cause.result}"
    if cause.kind == "fine-tuning":
        return f"{cause.why}; {'its run has begun' if cause.tries else 'it waits for its turn'}"
    return f"{cause.why}; {'a run has begun to handle it' if cause.tries else 'the next run will handle it'}"
