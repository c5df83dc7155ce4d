"""What a fleet promises, and what happened in a day: a row for each promise. Reads the records; changes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sql

from components.rollout.store.tables import FEEDBACK
from components.rollout.types import LedgerEntry
from components.stages.workspace import Workspace
from compressed_day.commands import Ended
from compressed_day.events import Day
from compressed_day.texts import WORDS, get_word, has_word
from compressed_day.traffic import Exchange

_FOLLOW_S = 15.0
"""How long servers may answer with a version after it was rolled back; on a busy machine."""
_KILL_S = 3.0
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Promise:
    """A promise, what happened, and whether it was kept."""

    words: str
    happened: str
    broken: Sequence[str] = ()

    @property
    def is_kept(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.broken


@dataclass(frozen=True)
class FleetRecords:
    """What MLflow, the ledger and the database say after the day."""

    versions: Mapping[str, Mapping[str, str]]
    """Tenant -> version -> sha256, from MLflow."""
    champions: Mapping[str, str]
    history: Sequence[LedgerEntry]
    feedback: frozenset[tuple[str, str]]
    """Tenant and answer of each row of feedback."""

    def get_moves(self, tenant: str) -> list[LedgerEntry]:
        """Return a tenant's entries of the ledger that moved a version."""
        return [one for one in self.history if one.tenant == tenant and one.to_version != one.from_version]


def read_records(workspace: Workspace) -> FleetRecords:
    """Read them."""
    from components.rollout.store.ledger import read_history

    histories = workspace.registry.find_histories("sha256")
    with workspace.database.connect("the feedback") as connection:
        rows = connection.execute(sql.select(FEEDBACK.c.tenant, FEEDBACK.c.request)).all()
    return FleetRecords(
        {tenant: {one.version: one.sha256 for one in versions} for tenant, versions in histories.items()},
        {tenant: one.version for tenant, one in workspace.registry.find_champions().items()},
        read_history(workspace.database),
        frozenset((row.tenant, row.request) for row in rows),
    )


def judge_answers(day: Day, records: FleetRecords) -> Promise:
    """Every answer is of its tenant, of a version of it, with that version's artifact, and never another's word."""
    broken = []
    answered = [one for one in day.traffic.exchanges if not one.problem]
    for one in answered:
        sha256 = records.versions[one.tenant].get(one.version)
        others = [word for word in WORDS if word != get_word(one.tenant) and has_word(one.text, word)]
        if one.owner != one.tenant or sha256 != one.artifact or others:
            broken.append(
                f"{one.tenant}: version {one.version} of {one.owner}, artifact {one.artifact[:8]}: {one.text}"
            )
    right = sum(has_word(one.text, get_word(one.tenant)) for one in answered)
    happened = (
        f"{len(answered):,} answers of {len({one.tenant for one in answered}):,} tenants; {right:,} begin with its word"
    )
    return Promise("no answer of a wrong tenant", happened, broken)


def judge_intruders(day: Day) -> Promise:
    """A tenant's key is refused for other tenants."""
    wrong = [f"status {one}" for one in day.traffic.intrusions if one not in (403, 404)]
    return Promise("a tenant's key opens no other tenant", f"{len(day.traffic.intrusions)} tries", wrong)


def judge_requests(day: Day) -> Promise:
    """No request is lost but those in flight on a killed server."""
    lost = [one for one in day.traffic.exchanges if one.problem]
    excused = [one for one in lost if _was_killed(day, one)]
    again = sum(one.attempts > 1 for one in day.traffic.exchanges)
    shed = [
        f"{one.tenant} at {one.started_s - day.started_s:.0f} s: {one.problem}" for one in lost if one not in excused
    ]
    in_flight = sum(len(requests) for _, _, requests in day.killed)
    happened = (
        f"{len(day.traffic.exchanges):,} requests, {again} asked again after a 503 or 429; {len(excused)} of the "
        f"{in_flight} in flight broke off with a killed server"
    )
    return Promise("no lost request", happened, shed)


def _was_killed(day: Day, exchange: Exchange) -> bool:
    return any(exchange in requests and exchange.ended_s < at_s + _KILL_S for _, at_s, requests in day.killed)


def judge_feedback(day: Day, records: FleetRecords) -> Promise:
    """What was accepted is in the database; 404 is the answer for what a killed server had not yet written down."""
    sent = day.traffic.feedback
    corrections = sum(is_correction for *_, is_correction in sent)
    broken = [f"{tenant}: {answer}" for tenant, answer, _ in sent if (tenant, answer) not in records.feedback]
    refused = [one for one in day.traffic.refused_feedback if not one.startswith("404")]
    happened = f"{len(sent):,} accepted, {corrections} of them corrections"
    return Promise("no lost feedback", happened, [*broken, *refused])


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


_CHAMPION_MOVES = ("promote", "rollback")


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


def judge_nights(day: Day) -> Promise:
    """A night with a dead worker ends well; one on a full disk is refused with a reason, and then done in full."""
    names = ("night", "night on a full disk", "night after it")
    missing = [f"there was no {name}" for name in names if name not in day.nights]
    if missing:
        return Promise("a night survives a dead worker and a full disk", "the day was stopped", missing)
    night, full, after = (day.nights[name] for name in names)
    broken = [] if day.is_worker_killed else ["no worker was killed"]
    if night.code:
        broken.append(f"the night ended with {night.code}: {night.printed.strip()[-300:]}")
    if day.disk.is_mounted and (full.code != 2 or not full.has_three_beats or "space" not in full.printed):
        broken.append(f"on a full disk: exit code {full.code}: {full.printed.strip()[-300:]}")
    if after.code not in (0, 3):
        broken.append(f"after the full disk: exit code {after.code}: {after.printed.strip()[-300:]}")
    disk = "" if day.disk.is_mounted else " (not full: no right to mount one)"
    happened = (
        f"{len(day.changed)} tenants in {night.ended_s - night.started_s:.0f} s with a dead worker; exit code "
        f"{full.code} on a full disk{disk}, then {after.code}"
    )
    return Promise("a night survives a dead worker and a full disk", happened, broken)


def judge_cycles(day: Day) -> Promise:
    """Rollout cycles fail only while the database or the disk is away, and then say why."""
    failed = [one for one in day.commands.cycles if one.code]
    broken = [
        f"exit code {one.code} at {one.started_s - day.started_s:.0f} s: {one.printed.strip()[-300:]}"
        for one in failed
        if not one.has_three_beats or not any(_overlaps(one, *away) for away in day.outages.values())
    ]
    happened = f"{len(day.commands.cycles)} cycles, {len(failed)} failed in an outage"
    return Promise("rollout cycles fail only in outages", happened, broken)


def _overlaps(command: Ended, away_from_s: float, away_to_s: float) -> bool:
    return command.started_s < away_to_s and command.ended_s > away_from_s


def judge_servers(day: Day) -> Promise:
    """At the end no server reports trouble."""
    broken = [f"{one.name}: {troubles}" for one in day.servers if (troubles := one.read_health()["troubles"])]
    return Promise(
        "servers recover by themselves", f"{day.restarts} restarts in turn, {len(day.killed)} killed", broken
    )


def judge_console(day: Day, answers: Sequence[tuple[float, str, int]]) -> Promise:
    """The console shows its pages; while a part is away, it may say so with 503."""
    broken = [
        f"{path} at {started_s - day.started_s:.0f} s: status {status}"
        for started_s, path, status in answers
        if status != 200 and not (status == 503 and _is_in_outage(day, started_s))
    ]
    refused = sum(status == 503 for *_, status in answers)
    return Promise("the console answers", f"{len(answers)} pages, {refused} of them 503", broken)


def _is_in_outage(day: Day, at_s: float) -> bool:
    return any(from_s - _FOLLOW_S < at_s < to_s + _FOLLOW_S for from_s, to_s in day.outages.values())


def judge_memory(slopes: Mapping[str, tuple[float, float, float]], most_mb: float) -> Promise:
    """The memory of each program grows by at most `most_mb` per minute."""
    broken = [f"{name}: {slope:+.1f} MB a minute" for name, (_, slope, _) in slopes.items() if slope > most_mb]
    lines = [
        f"{name} {end:.0f} MB, {slope:+.2f} MB/min over {minutes:.1f} min"
        for name, (end, slope, minutes) in slopes.items()
    ]
    return Promise("memory is flat", "; ".join(lines) or "not judged: the day is too short", broken)


def judge_alerts(fired: Mapping[str, str]) -> Promise:
    """No alert of severity critical fired, which would have called a person; `fired`: alert -> severity."""
    broken = [name for name, severity in fired.items() if severity == "critical"]
    warnings = sorted(name for name, severity in fired.items() if severity != "critical")
    return Promise("nobody is paged", f"warnings: {', '.join(warnings) or 'none'}", broken)


def print_table(promises: Iterable[Promise]) -> int:
    """Print a row for each promise; return how many are broken."""
    broken = 0
    print(f"\n{'promised':52} {'kept':5} what happened")
    for one in promises:
        broken += not one.is_kept
        print(f"{one.words:52} {'yes' if one.is_kept else 'NO':5} {one.happened}")
        for problem in one.broken[:_MOST_SHOWN]:
            print(f"{'':58} ! {problem}")
        if len(one.broken) > _MOST_SHOWN:
            print(f"{'':58} ! and {len(one.broken) - _MOST_SHOWN} more")
    return broken
