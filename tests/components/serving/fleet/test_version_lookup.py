"""A slow or failing registry delays only the requests that wait for it."""

import asyncio
import threading
from collections import Counter

import pytest

from components.errors import RegistryError
from components.registry.mlflow.versions import Version
from components.serving.fleet.version_lookup import VersionLookup


class FakeRegistry:
    """Every tenant has a version 3; a lookup of a tenant in `slow` waits for `may_answer` and then fails."""

    def __init__(self):
        self.lookups, self.running, self.most_running = Counter(), 0, 0
        self.slow, self.may_answer = set(), threading.Event()

    def find_versions(self, tenant):
        self.lookups[tenant] += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if tenant in self.slow:
                self.may_answer.wait(30)
                raise RegistryError("versions", "no answer", "start MLflow")
            return [Version(tenant, "3", sha256="e" * 64)]
        finally:
            self.running -= 1


@pytest.fixture
def registry():
    return FakeRegistry()


def test_a_slow_lookup_is_shared_and_does_not_delay_another_tenants(registry):
    registry.slow = {"alder"}

    async def talk():
        lookup = VersionLookup(registry.find_versions)
        slow = [asyncio.create_task(lookup.find_version("alder", "7", use_cached=True)) for _ in range(10)]
        await asyncio.sleep(0)
        for _ in range(2):
            version = await asyncio.wait_for(lookup.find_version("birch", "3", use_cached=True), 20)
        registry.may_answer.set()
        return version, await asyncio.gather(*slow, return_exceptions=True)

    version, results = asyncio.run(talk())
    assert version.tenant == "birch"
    assert [type(one) for one in results] == [RegistryError] * 10
    assert registry.lookups == {"alder": 1, "birch": 1}


def test_a_cancelled_request_does_not_cancel_the_lookup_of_another(registry):
    registry.slow = {"alder"}

    async def talk():
        lookup = VersionLookup(registry.find_versions)
        first, second = (asyncio.create_task(lookup.find_version("alder", "3", use_cached=False)) for _ in range(2))
        while not registry.lookups:
            await asyncio.sleep(0.01)
        first.cancel()
        registry.may_answer.set()
        await second

    with pytest.raises(RegistryError):
        asyncio.run(talk())


def test_a_failure_is_cached_for_2_seconds_and_versions_for_longer(registry):
    now_s = 0
    registry.may_answer.set()

    async def find(lookup, *, use_cached):
        try:
            return (await lookup.find_version("alder", "3", use_cached=use_cached)).version
        except RegistryError:
            return "failed"

    async def talk():
        nonlocal now_s
        lookup = VersionLookup(registry.find_versions, lambda: now_s)
        results = [await find(lookup, use_cached=False)]
        registry.slow = {"alder"}
        now_s += 2
        results.append(await find(lookup, use_cached=False))
        now_s += 1
        results += [await find(lookup, use_cached=False), await find(lookup, use_cached=True)]
        count = registry.lookups["alder"]
        registry.slow.clear()
        now_s += 1
        return [*results, await find(lookup, use_cached=False)], count

    assert asyncio.run(talk()) == (["3", "failed", "failed", "3", "3"], 2)


def test_a_registry_that_hangs_blocks_four_threads_only(registry):
    registry.slow = {f"t{number}" for number in range(40)}

    async def talk():
        lookup = VersionLookup(registry.find_versions)
        asks = [asyncio.create_task(lookup.find_version(tenant, "1", use_cached=False)) for tenant in registry.slow]
        while registry.running < 4:
            await asyncio.sleep(0.001)
        assert await asyncio.to_thread(lambda: "other work goes on") == "other work goes on"
        registry.may_answer.set()
        await asyncio.gather(*asks, return_exceptions=True)

    asyncio.run(talk())
    assert registry.most_running == 4
