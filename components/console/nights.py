"""A run's shards by worker. Pure: what the run log holds in, lanes of a time line out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from components.console.charts import Bar
from components.rollout.store.runs import RunTenant


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
    shards = Counter((one.began_s, one.ended_s, one.shard) for one in own)
    return [
        Bar(f"{count} tenants, {ended_s - began_s:.0f} s", began_s, ended_s)
        for (began_s, ended_s, _), count in sorted(shards.items())
    ]
