import asyncio
import threading

import pytest
from waiting import LIMIT_S

from components.config.serve import AccessConfig
from components.errors import WorkspaceError
from components.rollout.store.quota_leases import QuotaLeases
from components.serving.errors import RefusalError
from components.serving.http.quotas import Quotas


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_quotas(clock, database):
    """A function of the limits of alder to the quotas of another server over the same database."""
    made = []

    def make(**access):
        made.append(0)
        leases = QuotaLeases(database, f"server {len(made)}", clock)
        limits = {"alder": AccessConfig(**access)}
        return Quotas(lambda tenant: limits.get(tenant, AccessConfig()), clock, leases, patience_seconds=LIMIT_S)

    return make


def count_admitted(quotas, tries, clock=None, step_s=0.0):
    """Send requests in turn to each of the servers; returns how many were admitted."""

    async def main():
        admitted = 0
        for number in range(tries):
            if clock is not None:
                clock.now_s += step_s
            try:
                await quotas[number % len(quotas)].admit("alder", 0)
            except RefusalError:
                continue
            admitted += 1
        return admitted

    return main()


def test_without_limits_every_request_is_admitted_without_the_database(clock):
    class NoLeases:
        def take(self, *_, **__):
            raise AssertionError("the database was asked")

    async def main():
        quotas = Quotas(lambda _: AccessConfig(), clock, NoLeases(), has_limits=False)
        for _ in range(1000):
            await quotas.admit("alder", 10**6)
        running = asyncio.create_task(quotas.run_forever())
        await asyncio.sleep(0)
        running.cancel()
        await quotas.close()

    asyncio.run(main())


def test_requests_beyond_the_quota_are_refused_and_another_tenants_are_not(clock, make_quotas):
    async def main():
        quotas = make_quotas(requests_per_minute=3)
        for _ in range(3):
            clock.now_s += 0.01
            await quotas.admit("alder", 1)
        with pytest.raises(RefusalError, match="at most 3 requests per minute of alder") as refused:
            await quotas.admit("alder", 1)
        assert refused.value.status == 429
        assert refused.value.retry_after == pytest.approx(20, abs=0.1)
        await quotas.admit("birch", 1)
        clock.now_s += refused.value.retry_after + 0.001
        await quotas.admit("alder", 1)
        with pytest.raises(RefusalError):
            await quotas.admit("alder", 1)

    asyncio.run(main())


def test_tokens_are_reserved_and_unused_ones_given_back(make_quotas):
    async def main():
        quotas = make_quotas(tokens_per_minute=100)
        await quotas.admit("alder", 90)
        with pytest.raises(RefusalError, match="tokens"):
            await quotas.admit("alder", 20)
        quotas.settle("alder", 90, 10)
        await quotas.admit("alder", 20)

    asyncio.run(main())


def test_a_request_for_more_tokens_than_the_quota_needs_a_full_bucket_and_overdraws_it(clock, make_quotas):
    async def main():
        quotas = make_quotas(tokens_per_minute=60)
        await quotas.admit("alder", 180)
        clock.now_s += 179
        with pytest.raises(RefusalError) as refused:
            await quotas.admit("alder", 60)
        assert refused.value.retry_after == pytest.approx(1, abs=0.01)

    asyncio.run(main())


def test_a_refused_request_takes_nothing(make_quotas):
    async def main():
        quotas = make_quotas(requests_per_minute=2, tokens_per_minute=10)
        await quotas.admit("alder", 10)
        for _ in range(5):
            with pytest.raises(RefusalError, match="tokens"):
                await quotas.admit("alder", 10)
        quotas.settle("alder", 10, 0)
        await quotas.admit("alder", 10)

    asyncio.run(main())


@pytest.mark.parametrize("servers", [1, 2, 4])
@pytest.mark.parametrize("limit", [6, 100])
def test_all_servers_together_admit_the_quota_and_at_most_one_twentieth_more(clock, make_quotas, servers, limit):
    async def main():
        quotas = [make_quotas(requests_per_minute=limit) for _ in range(servers)]
        burst = await count_admitted(quotas, 2 * limit)
        rest = await count_admitted(quotas, 400, clock, 0.3)
        return burst, rest

    burst, rest = asyncio.run(main())
    assert 0.9 * limit - 1 <= burst <= limit
    assert 0.9 * 3 * limit - 1 <= burst + rest <= 1.05 * 3 * limit, "a full bucket, and two minutes' refill"


def test_requests_at_the_same_time_share_what_is_there(make_quotas):
    async def main():
        quotas = [make_quotas(requests_per_minute=50) for _ in range(2)]
        tries = [quotas[number % 2].admit("alder", 0) for number in range(200)]
        return await asyncio.gather(*tries, return_exceptions=True)

    results = asyncio.run(main())
    assert 45 <= results.count(None) <= 50
    assert all(one is None or isinstance(one, RefusalError) for one in results)


def test_what_a_server_does_not_use_is_given_back(clock, make_quotas):
    async def main():
        one, other = (make_quotas(requests_per_minute=100) for _ in range(2))
        await one.admit("alder", 0)
        await one.close()
        return await count_admitted([other], 150)

    assert asyncio.run(main()) == 99


def test_a_request_that_is_abandoned_takes_nothing(make_quotas):
    async def main():
        one = make_quotas(requests_per_minute=10)
        abandoned = asyncio.create_task(one.admit("alder", 0))
        await asyncio.sleep(0)
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        return await count_admitted([one], 20)

    assert asyncio.run(main()) == 10


def test_while_the_database_fails_each_server_has_its_share(clock, database, make_quotas):
    def rename(table, other):
        with database.transaction("to break or mend it") as connection:
            connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {other}")

    async def main():
        quotas = [make_quotas(requests_per_minute=100) for _ in range(2)]
        await count_admitted(quotas, 2)
        clock.now_s += 6
        for one in quotas:
            await one.exchange()  # by now each knows of the other
        clock.now_s += 60
        rename("prefixfleet_quotas", "away")
        failing = [await count_admitted([one], 100) for one in quotas]
        errors = [one.lease_error for one in quotas]
        rename("away", "prefixfleet_quotas")
        running = [asyncio.create_task(one.run_forever()) for one in quotas]
        while any(one.lease_error for one in quotas):
            await asyncio.sleep(0.05)
        for one in running:
            one.cancel()
        return failing, errors, await count_admitted(quotas, 50)

    failing, errors, after = asyncio.run(main())
    assert failing == [50, 50]
    assert all(errors)
    assert after <= 5, "what was used meanwhile is owed"


def test_a_request_does_not_wait_long_for_a_database_that_does_not_answer(clock, database):
    class StuckLeases(QuotaLeases):
        def take(self, *_arguments, **_options):
            event.wait()
            raise WorkspaceError("a lease", "no answer", "wait")

    event = threading.Event()

    async def main():
        quotas = Quotas(
            lambda _: AccessConfig(requests_per_minute=2),
            clock,
            StuckLeases(database, "one", clock),
            patience_seconds=0.1,
        )
        admitted = await count_admitted([quotas], 5)
        assert "no answer" in quotas.lease_error
        event.set()
        await quotas.close()
        return admitted

    assert asyncio.run(main()) == 2


def test_nothing_is_kept_of_a_forgotten_tenant(make_quotas):
    async def main():
        quotas = make_quotas(requests_per_minute=100)
        await quotas.admit("alder", 0)
        quotas.forget("alder")
        return quotas._buckets

    assert asyncio.run(main()) == {}
