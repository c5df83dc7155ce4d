"""What serving observed, added up for people: the last hour of every tenant, the days of one.

Knows the tables of observations; knows no policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sql

from components.rollout.store.observations import to_bucket_limit_ms
from components.rollout.store.tables import LATENCIES, OBSERVATIONS
from components.storage.database import Database

_SLOW_SHARE = 0.95
_MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Traffic:
    """Answers of one tenant in a period."""

    requests: int
    errors: int
    p95_ms: float | None
    """95 % of the answers took at most this long, to a fifth exactly; None: no answer was timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayUsage:
    """Requests of one tenant on one day in UTC."""

    day: int
    """Days since 1970."""
    requests: int
    errors: int
    tokens: int
    """Generated."""
    liked: int
    disliked: int


def read_traffic(database: Database, since_minute: int) -> dict[str, Traffic]:
    """Return tenant -> its traffic from a minute on, without tenants that had none. Raises WorkspaceError."""
    own, latency = OBSERVATIONS.c, LATENCIES.c
    sums = (sql.func.sum(own.requests), sql.func.sum(own.errors))
    counts = sql.select(own.tenant, *sums).where(own.section == 0, own.minute >= since_minute).group_by(own.tenant)
    by_bucket = (latency.tenant, latency.bucket)
    times = sql.select(*by_bucket, sql.func.sum(latency.answers))
    times = times.where(latency.section == 0, latency.minute >= since_minute).group_by(*by_bucket)
    with database.connect("the traffic of all tenants") as connection:
        totals = {tenant: (int(requests), int(errors)) for tenant, requests, errors in connection.execute(counts)}
        buckets: dict[str, dict[int, int]] = {}
        for tenant, bucket, answers in connection.execute(times):
            buckets.setdefault(tenant, {})[bucket] = int(answers)
    return {
        tenant: Traffic(requests, errors, find_slow_ms(buckets.get(tenant, {})))
        for tenant, (requests, errors) in totals.items()
    }


def read_days(database: Database, tenant: str) -> list[DayUsage]:
    """Return the days on which a tenant had requests, oldest first. Raises WorkspaceError."""
    own = OBSERVATIONS.c
    names = ("requests", "errors", "tokens", "liked", "disliked")
    sums = (sql.func.sum(own[name]).label(name) for name in names)
    minutes = sql.select(own.minute, *sums).where(own.tenant == tenant, own.section == 0).group_by(own.minute)
    totals: dict[int, list[int]] = {}
    with database.connect(f"the usage of {tenant}") as connection:
        for minute, *counts in connection.execute(minutes):
            total = totals.setdefault(minute // _MINUTES_PER_DAY, [0] * len(names))
            totals[minute // _MINUTES_PER_DAY] = [a + int(b) for a, b in zip(total, counts, strict=True)]
    return [DayUsage(day=day, **dict(zip(names, totals[day], strict=True))) for day in sorted(totals)]


def find_slow_ms(answers_by_bucket: Mapping[int, int]) -> float | None:
    """Return the 95th percentile of the latency, as the upper limit of its bucket; None without answers."""
    needed, reached = _SLOW_SHARE * sum(answers_by_bucket.values()), 0
    for bucket in sorted(answers_by_bucket):
        reached += answers_by_bucket[bucket]
        if reached >= needed:
            return to_bucket_limit_ms(bucket)
    return None
