"""Promises about versions: none is lost, the bad one is taken back, no good one is."""

from datetime import datetime

from compressed_day.events import Day
from compressed_day.promise import Promise
from compressed_day.records import FleetRecords

_CHAMPION_MOVES = ("promote", "rollback")
_FOLLOW_S = 15.0
"""How long servers may answer with a version after it was rolled back; on a busy machine."""


def judge_versions(day: Day, records: FleetRecords, verified: str) -> Promise:
    """MLflow's versions have no gap, no version is registered twice, and the ledger's champion is MLflow's.

    A tenant with new data has a version of them, or an entry that the gate rejected it.
    Copied tenants of the first state have no line in the ledger before their first move; their champion is version 1.
    """
    broken = [] if verified == "" else [verified]
    for tenant in day.traffic.tenants:
        versions = records.versions.get(tenant, {})
        if sorted(map(int, versions)) != [*range(1, len(versions) + 1)] or len({*versions.values()}) < len(versions):
            broken.append(f"{tenant}: versions {sorted(versions)} in MLflow")
        named = [one.to_version for one in records.get_moves(tenant) if one.action in _CHAMPION_MOVES]
        if (named or ["1"])[-1] != records.champions.get(tenant):
            broken.append(f"{tenant}: champion {records.champions.get(tenant)} in MLflow, {named[-1:]} in the ledger")
    rejected = {one.tenant for one in records.history if one.action == "reject"}
    for tenant in (*day.changed, *day.evening):
        if len(records.versions.get(tenant, {})) < 2 and tenant not in rejected:
            broken.append(f"{tenant}: no version of its new data")
    count = sum(map(len, records.versions.values()))
    return Promise(
        "no version lost", f"{count:,} versions in MLflow and its store, {len(records.history):,} entries", broken
    )


def judge_bad_version(day: Day, records: FleetRecords) -> Promise:
    """The version that learned the wrong word was tried, was taken back by its feedback, and answers no more."""
    moves = [one for one in records.history if one.tenant == day.bad and one.action == "rollback"]
    wrong = [one for one in day.traffic.exchanges if one.tenant == day.bad and one.version == "2"]
    broken = []
    if not wrong:
        broken.append("it was never tried")
    if not moves or "feedback" not in moves[0].why:
        broken.append(f"not rolled back for its feedback: {[one.why for one in moves]}")
    late = [one for one in wrong if moves and one.started_s > _to_monotonic(day, moves[0].at) + _FOLLOW_S]
    if late:
        broken.append(f"it answered {len(late)} requests that were sent {_FOLLOW_S:.0f} s and more after its rollback")
    if records.champions.get(day.bad) != "1":
        broken.append(f"champion is version {records.champions.get(day.bad)}")
    happened = f"{len(wrong)} answers of it; rolled back {len(moves)} times: {moves[0].why if moves else 'never'}"
    return Promise("the bad version is taken back", happened, broken)


def _to_monotonic(day: Day, at: str) -> float:
    """Return a time of the ledger as one of `time.monotonic`."""
    return day.started_s + (datetime.fromisoformat(at) - day.started_at).total_seconds()


def judge_good_versions(day: Day, records: FleetRecords) -> Promise:
    """No other version was rolled back; the others of the night were promoted or are still on trial."""
    wrong = [
        f"{one.tenant}: {one.why}" for one in records.history if one.action == "rollback" and one.tenant != day.bad
    ]
    good = [tenant for tenant in day.changed if tenant != day.bad]
    promoted = sum(records.champions.get(tenant) == "2" for tenant in good)
    return Promise(
        "no good version is taken back", f"{promoted} of {len(good)} are champions, the others on trial", wrong
    )
