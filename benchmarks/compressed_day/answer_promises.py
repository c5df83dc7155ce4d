"""Promises about requests: whose answers they got, and whether any was lost."""

from compressed_day.events import Day
from compressed_day.promise import Promise
from compressed_day.records import FleetRecords
from compressed_day.texts import WORDS, get_word, has_word
from compressed_day.traffic import Exchange

_KILL_S = 3.0
"""After which a request that broke off is no longer excused by a server that was killed."""


def judge_answers(day: Day, records: FleetRecords) -> Promise:
    """Every answer is of its tenant, of a version of it, with that version's artifact, and never another's word."""
    broken = []
    answered = [one for one in day.traffic.exchanges if not one.problem]
    for one in answered:
        sha256 = records.versions.get(one.tenant, {}).get(one.version)
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
