"""Counts of all servers add up, latencies go into a histogram, and old counts are deleted."""

from concurrent.futures import ThreadPoolExecutor

from observations import read_observations

from components.rollout.store.observations import delete_observations_before, to_latency_bucket, write_counts
from components.rollout.types import Observation


def test_counts_of_many_writers_add_up_until_they_are_deleted(database):
    cell = Observation(tenant="acme", version="2", arm="challenger", minute=7, requests=3, latencies={4: 2, 5: 1})
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: write_counts(database, [cell]), range(8)))
    assert read_observations(database, "acme", ["1", "2"], 7, 8) == [
        Observation(tenant="acme", version="2", arm="challenger", minute=7, requests=24, latencies={4: 16, 5: 8})
    ]
    delete_observations_before(database, 7)
    assert len(read_observations(database, "acme", ["2"], 0, 99)) == 1
    delete_observations_before(database, 8)
    assert read_observations(database, "acme", ["2"], 0, 99) == []


def test_a_latency_is_in_the_smallest_bucket_that_holds_it():
    def upper_ms(bucket):
        return 2.0 ** (bucket / 4)

    for ms in (0.2, 1.0, 1.01, 37.0, 250.0, 60_000.0):
        assert ms <= upper_ms(to_latency_bucket(ms)) or ms < 1
        assert to_latency_bucket(ms) == 0 or upper_ms(to_latency_bucket(ms) - 1) < ms
