"""What is known after a compressed day, in small: exchanges, records and moves of one tenant."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from components.rollout.types import LedgerEntry

NOW = datetime.now(UTC)


def make_exchange(tenant: str = "tenant-00000", **values: Any) -> Any:
    from compressed_day.traffic import Exchange

    whole = {"text": "alder the lamp is red .", "version": "1", "owner": tenant, "artifact": "a" * 64, "status": 200}
    known = {"started_s": 10.0, "ended_s": 11.0, "attempts": 1}
    return Exchange(tenant, "item : lamp | colour : red", **{**whole, **known, **values})


def make_day(*exchanges: Any, **values: Any) -> Any:
    traffic = SimpleNamespace(
        exchanges=[*exchanges], tenants=["tenant-00000"], feedback=[], refused_feedback=[], intrusions=[]
    )
    day = {
        "traffic": traffic,
        "killed": [],
        "started_s": 0.0,
        "started_at": NOW,
        "changed": [],
        "evening": [],
        "bad": "tenant-00000",
    }
    return SimpleNamespace(**{**day, **values})


def make_records(*history: LedgerEntry, champion: str = "1", versions: tuple[str, ...] = ("1",)) -> Any:
    from compressed_day.records import FleetRecords

    digests = {version: chr(ord("a") + number) * 64 for number, version in enumerate(versions)}
    return FleetRecords({"tenant-00000": digests}, {"tenant-00000": champion}, history, frozenset())


def make_move(action: Any, before: str, after: str, why: str = "") -> LedgerEntry:
    return LedgerEntry(
        tenant="tenant-00000",
        by="test",
        action=action,
        from_version=before,
        to_version=after,
        why=why,
        at=NOW.isoformat(),
    )
