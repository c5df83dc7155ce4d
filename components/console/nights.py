"""A run's shards by worker. Pure: what the run log holds in, lanes of a time line out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from components.console.charts import Bar
from components.rollout.store.runs import RESULTS, RunTenant
from components.stages.progress import count_nouns

_ALL_PASSED = "passed"


@dataclass(frozen=True, slots=True)
class WorkerLane:
    """The shards of one worker."""

    worker: str
    device: str
    bars: Sequence[Bar]
    tenants: int
    device_seconds: float


def find_lanes(tenants: Sequence[RunTenant]) -> list[WorkerLane]:
    """Return the workers of a run by name, each with its shards in order of time."""
    own: dict[str, list[RunTenant]] = {}
    for one in tenants:
        if one.worker:
            own.setdefault(one.worker, []).append(one)
    return [
        WorkerLane(worker, some[0].device, _find_bars(some), len(some), sum(one.device_seconds for one in some))
        for worker, some in sorted(own.items())
    ]


def find_period(tenants: Sequence[RunTenant]) -> tuple[float, float]:
    """Return when the first shard began and the last one ended, in seconds since 1970; 0, 0 without any."""
    trained = [one for one in tenants if one.worker]
    return min((one.began_s for one in trained), default=0.0), max((one.ended_s for one in trained), default=0.0)


def _find_bars(own: Sequence[RunTenant]) -> list[Bar]:
    shards: dict[tuple[float, float, str], Counter[str]] = {}
    for one in own:
        shards.setdefault((one.began_s, one.ended_s, one.shard), Counter())[one.result] += 1
    return [
        Bar(_describe(counts, ended_s - began_s), began_s, ended_s, _find_color(counts))
        for (began_s, ended_s, _), counts in sorted(shards.items(), key=lambda shard: shard[0])
    ]


def _describe(counts: Counter[str], seconds: float) -> str:
    tenants = count_nouns(counts.total(), "tenant")
    return f"{tenants}, {seconds:.0f} s: {', '.join(f'{counts[one]} {one}' for one in RESULTS if counts[one])}"


def _find_color(counts: Counter[str]) -> str:
    """Return the worst result of a shard's tenants, as a class of the style sheet."""
    return "failed" if counts["failed"] else "rejected" if counts["rejected"] else _ALL_PASSED
