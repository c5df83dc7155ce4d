"""The ledger and the causes of retrainings as one line of events."""

from components.console.tenant.timeline import make_timeline
from components.rollout.store.causes import Cause
from components.rollout.types import LedgerEntry


def test_events_are_in_order_of_time_with_who_and_why():
    moved = LedgerEntry(
        tenant="acme",
        by="ada",
        action="promote",
        to_version="1",
        why="it passed the gate",
        at="2026-01-02T00:00:00+00:00",
    )
    later = LedgerEntry(tenant="acme", by="bob", action="pin", at="2026-01-04T00:00:00+00:00")
    arrived = Cause(
        tenant="acme",
        id="arrival-1",
        kind="arrival",
        why="train.jsonl arrived",
        opened_at="2026-01-03T00:00:00.500+00:00",
    )
    closed = Cause(
        tenant="acme",
        id="arrival-0",
        kind="arrival",
        why="a drop arrived",
        opened_at="2026-01-01T00:00:00+00:00",
        closed_at="2026-01-01T01:00:00+00:00",
        result="1 trained",
    )
    queued, running = (
        Cause(
            tenant="acme",
            id=f"ftjob-{tries}",
            kind="fine-tuning",
            why=f"fine-tuning job ftjob-{tries} asked for it",
            opened_at=f"2025-12-3{tries}T00:00:00+00:00",
            tries=tries,
        )
        for tries in (0, 1)
    )
    events = make_timeline([moved, later], [arrived, closed, queued, running])
    assert [(one.action, one.by) for one in events] == [
        ("pin", "bob"),
        ("arrival", "watch"),
        ("promote", "ada"),
        ("arrival", "watch"),
        ("fine-tuning", "API"),
        ("fine-tuning", "API"),
    ]
    assert events[4].why == "fine-tuning job ftjob-1 asked for it; its run has begun"
    assert events[5].why == "fine-tuning job ftjob-0 asked for it; it waits for its turn"
    assert events[1].why == "train.jsonl arrived; the next run will handle it"
    assert events[3].why == "a drop arrived; 1 trained"


def test_of_moves_in_one_second_the_last_is_first():
    moves = [
        LedgerEntry(tenant="acme", by="ada", action=action, at="2026-01-02T00:00:00+00:00")
        for action in ("pin", "unpin")
    ]
    assert [one.action for one in make_timeline(moves, [])] == ["unpin", "pin"]
