"""The table at the end of a day names what was broken, and excuses what was promised to be lost."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

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
    from compressed_day.promises import FleetRecords

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


@pytest.mark.parametrize(
    "wrong",
    [{"owner": "tenant-00004"}, {"version": "2"}, {"artifact": "b" * 64}, {"text": "cedar the lamp is red ."}],
    ids=str,
)
def test_an_answer_of_another_tenant_or_version_is_found(wrong: dict[str, str]) -> None:
    from compressed_day.promises import judge_answers

    assert judge_answers(make_day(make_exchange()), make_records()).is_kept
    assert not judge_answers(make_day(make_exchange(), make_exchange(**wrong)), make_records()).is_kept


def test_only_requests_in_flight_at_a_killed_server_may_break_off() -> None:
    from compressed_day.promises import judge_requests

    lost = make_exchange(problem="no whole answer")
    assert not judge_requests(make_day(lost)).is_kept
    assert judge_requests(make_day(lost, killed=[("server-1", 10.5, [lost])])).is_kept
    assert not judge_requests(make_day(lost, killed=[("server-1", 10.5, [])])).is_kept
    assert not judge_requests(make_day(lost, killed=[("server-1", 5.0, [lost])])).is_kept


def test_accepted_feedback_must_be_in_the_database() -> None:
    from compressed_day.promises import judge_feedback

    day, records = make_day(), make_records()
    assert judge_feedback(day, records).is_kept
    day.traffic.feedback.append(("tenant-00000", "cmpl-1", True))
    assert not judge_feedback(day, records).is_kept
    day.traffic.feedback.clear()
    day.traffic.refused_feedback.append("404 forgotten with a killed server")
    assert judge_feedback(day, records).is_kept
    day.traffic.refused_feedback.append("500 a fault")
    assert not judge_feedback(day, records).is_kept


def test_a_day_that_was_stopped_names_the_nights_that_it_lacks() -> None:
    from compressed_day.promises import judge_nights

    assert len(judge_nights(make_day(nights={})).broken) == 3


def test_a_gap_in_versions_and_a_champion_that_the_ledger_does_not_name_are_found() -> None:
    from compressed_day.promises import judge_versions

    first, second = make_move("promote", "", "1"), make_move("promote", "1", "2")
    assert judge_versions(make_day(), make_records(first), "").is_kept
    assert judge_versions(make_day(), make_records(first, second, champion="2", versions=("1", "2")), "").is_kept
    assert not judge_versions(make_day(), make_records(first), "line 3 was changed").is_kept
    assert not judge_versions(make_day(), make_records(first, champion="2", versions=("1", "2")), "").is_kept
    assert not judge_versions(make_day(), make_records(first, versions=("1", "3")), "").is_kept
    assert not judge_versions(make_day(changed=["tenant-00000"]), make_records(first), "").is_kept
    rejection = make_move("reject", "1", "1", "BLEU is below the champion's")
    assert judge_versions(make_day(changed=["tenant-00000"]), make_records(first, rejection), "").is_kept


def test_a_bad_version_must_have_been_tried_and_taken_back_for_its_feedback() -> None:
    from compressed_day.promises import judge_bad_version, judge_good_versions

    day, taken_back = make_day(make_exchange(version="2")), make_move("rollback", "2", "1", "feedback is worse")
    assert judge_bad_version(day, make_records(taken_back)).is_kept
    assert not judge_bad_version(make_day(), make_records(taken_back)).is_kept
    assert not judge_bad_version(day, make_records()).is_kept
    late = make_day(make_exchange(version="2", started_s=60.0))
    assert not judge_bad_version(late, make_records(taken_back)).is_kept
    assert not judge_bad_version(day, make_records(taken_back, champion="2", versions=("1", "2"))).is_kept
    assert judge_good_versions(day, make_records(taken_back)).is_kept
    assert not judge_good_versions(make_day(bad="another"), make_records(taken_back)).is_kept


def test_growing_memory_and_a_page_are_found_and_the_table_counts_what_is_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from compressed_day.promises import judge_alerts, judge_memory, print_table

    kept = [judge_memory({"server-1": (300.0, 0.5, 9.0)}, 5.0), judge_alerts({"PrefixFleetServerDown": "warning"})]
    broken = [judge_memory({"server-1": (300.0, 9.0, 9.0)}, 5.0), judge_alerts({"PrefixFleetNoServer": "critical"})]
    assert print_table([*kept, *broken]) == 2
    printed = capsys.readouterr().out
    assert "warnings: PrefixFleetServerDown" in printed
    assert "! PrefixFleetNoServer" in printed
