"""The last hour of every tenant and the days of one, from counts of several servers and versions."""

import pytest

from components.rollout.store.observations import to_bucket_limit_ms, to_latency_bucket, write_counts
from components.rollout.store.traffic import DayUsage, Traffic, find_slow_ms, read_days, read_traffic
from components.rollout.types import Observation

DAY = 24 * 60


def see(minute, version="1", arm="champion", tenant="acme", **counts):
    return Observation(tenant=tenant, version=version, arm=arm, minute=minute, **counts)


def test_traffic_is_of_all_versions_from_a_minute_on_without_evidence(database):
    bucket = to_latency_bucket(100)
    write_counts(
        database,
        [
            see(99, requests=50),
            see(100, requests=3, errors=1, latencies={bucket: 3}),
            see(110, "2", "challenger", requests=2, latencies={bucket: 2}),
            see(110, "2", "challenger", requests=2, section=6000),
            see(110, tenant="birch", requests=1),
        ],
    )
    assert read_traffic(database, 100) == {
        "acme": Traffic(5, 1, to_bucket_limit_ms(bucket)),
        "birch": Traffic(1, 0, None),
    }


def test_days_are_those_of_utc(database):
    write_counts(
        database,
        [
            see(DAY - 1, requests=1, tokens=7),
            see(DAY, requests=2, errors=1, tokens=5, liked=1),
            see(DAY + 5, "2", requests=3, tokens=1, disliked=2),
            see(DAY, tenant="birch", requests=9),
        ],
    )
    assert read_days(database, "acme") == [
        DayUsage(day=0, requests=1, errors=0, tokens=7, liked=0, disliked=0),
        DayUsage(day=1, requests=5, errors=1, tokens=6, liked=1, disliked=2),
    ]


@pytest.mark.parametrize(("answers", "bucket"), [({4: 95, 20: 5}, 4), ({4: 94, 20: 6}, 20), ({7: 1}, 7)])
def test_the_slow_end_is_reached_by_95_of_100(answers, bucket):
    assert find_slow_ms(answers) == to_bucket_limit_ms(bucket)
    assert find_slow_ms({}) is None
