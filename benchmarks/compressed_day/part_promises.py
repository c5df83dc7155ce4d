"""Promises about the parts of a fleet: nights, rollout cycles, servers, the console, their memory, alerts."""

from collections.abc import Mapping, Sequence

from compressed_day.commands import Ended
from compressed_day.events import Day
from compressed_day.promise import Promise
from compressed_day.watch import Watch

_RECOVER_S = 15.0
"""How long before and after an outage a page may be refused."""


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
    return any(from_s - _RECOVER_S < at_s < to_s + _RECOVER_S for from_s, to_s in day.outages.values())


def judge_watches(watches: Mapping[str, Watch]) -> Promise:
    """Memory, alerts and the console were looked at: a promise that nobody watched is not kept."""
    broken = [
        f"{name}: {len(one.failures)} of {one.looks} looks failed {one.failures[-1:]}"
        for name, one in watches.items()
        if not one.looks or 2 * len(one.failures) > one.looks
    ]
    lines = [f"{name} {one.looks} times, {len(one.failures)} failed" for name, one in watches.items()]
    return Promise("the fleet is watched all day", "; ".join(lines), broken)


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
