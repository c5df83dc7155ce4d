"""Groups observations by minute into strata: for each check, the answers of both arms and how many of them are bad.

A stratum ends with the minute in which it has enough answers, or at the end of its section, because its keys must be
drawn with one share. How many are enough depends only on the number of answers before, never on their quality, and
grows with the trial, so that a busy tenant's trial has only a few hundred strata. The last stratum may still grow, so
it is left out. Knows no margin and no policy.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from components.config.rollout import RolloutCheck
from components.rollout.policy.sequential_test import Stratum
from components.rollout.types import Observation

_MIN_STRATUM_ANSWERS = 20
_STRATUM_GROWTH = 0.02
_REFERENCE_ANSWERS = 100
"""The champion's first answers, whose latencies define what is slow; they are not evidence themselves."""
_SLOW_SHARE = 0.1


def build_strata(check: RolloutCheck, evidence: Sequence[Observation]) -> list[Stratum]:
    """Return the strata of a trial; `evidence` and strata are in order of sections and minutes."""
    minutes = [list(cells) for _, cells in groupby(evidence, key=lambda one: (one.section, one.minute))]
    slow_from = 0
    if check == "latency":
        start, slow_from = _find_latency_reference(minutes)
        minutes = minutes[start:]
    return list(_merge_minutes((cells[0].section, _make_stratum(check, cells, slow_from)) for cells in minutes))


def _merge_minutes(minutes: Iterable[tuple[int, Stratum]]) -> Iterator[Stratum]:
    total, section, open_ = 0, -1, Stratum(0, 0, 0, 0)
    for here, row in minutes:
        if here != section:
            if _count_both_arms(open_):
                yield open_
            section, open_ = here, Stratum(0, 0, 0, 0)
        open_ = Stratum(
            open_.champion + row.champion,
            open_.champion_bad + row.champion_bad,
            open_.challenger + row.challenger,
            open_.challenger_bad + row.challenger_bad,
            row.minute,
        )
        if _count_both_arms(open_) >= max(_MIN_STRATUM_ANSWERS, _STRATUM_GROWTH * total):
            total += _count_both_arms(open_)
            yield open_
            open_ = Stratum(0, 0, 0, 0)


def _make_stratum(check: RolloutCheck, cells: Iterable[Observation], slow_from: int) -> Stratum:
    sums, minute = {"champion": [0, 0], "challenger": [0, 0]}, 0
    for cell in cells:
        minute = cell.minute
        answers, bad = _count_answers(check, cell, slow_from)
        sums[cell.arm][0] += max(0, answers)
        sums[cell.arm][1] += max(0, min(bad, answers))  # a server may have written wrong counts
    champion, challenger = sums["champion"], sums["challenger"]
    return Stratum(champion[0], champion[1], challenger[0], challenger[1], minute)


def _count_answers(check: RolloutCheck, cell: Observation, slow_from: int) -> tuple[int, int]:
    match check:
        case "errors":
            return cell.requests, cell.errors
        case "latency":
            slow = sum(answers for bucket, answers in cell.latencies.items() if bucket >= slow_from)
            return sum(cell.latencies.values()), slow
        case "feedback":
            return cell.liked + cell.disliked, cell.disliked
        case "empty" | "repeated" | "over_long":
            return cell.requests - cell.errors, getattr(cell, check)


def _find_latency_reference(minutes: Sequence[Sequence[Observation]]) -> tuple[int, int]:
    """Return the index in `minutes` at which evidence starts, and the first latency bucket that counts as slow."""
    counted: dict[int, int] = {}
    for index, cells in enumerate(minutes):
        for cell in cells:
            if cell.arm == "champion":
                for bucket, answers in cell.latencies.items():
                    counted[bucket] = counted.get(bucket, 0) + answers
        if sum(counted.values()) >= _REFERENCE_ANSWERS:
            return index + 1, _find_slow_bucket(counted)
    return len(minutes), 0


def _find_slow_bucket(answers_by_bucket: dict[int, int]) -> int:
    allowed, above = _SLOW_SHARE * sum(answers_by_bucket.values()), 0
    for bucket in sorted(answers_by_bucket, reverse=True):
        above += answers_by_bucket[bucket]
        if above > allowed:
            return bucket + 1
    return 0


def _count_both_arms(stratum: Stratum) -> int:
    return stratum.champion + stratum.challenger
