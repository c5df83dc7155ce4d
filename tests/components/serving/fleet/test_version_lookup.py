"""Who waits for a slow registry, and for how long."""

import asyncio
import threading
from collections import Counter

import pytest

from components.errors import RegistryError
from components.registry.mlflow.versions import Version
from components.serving.fleet.version_lookup import VersionLookup


class FakeRegistry:
    """Every tenant has a version 3; those of `slow` hear nothing until `goes_on`, and then a refusal."""

    def __init__(self):
        self.asked, self.inside, self.most = Counter(), 0, 0
        self.slow, self.goes_on = set(), threading.Event()

    def find_versions(self, tenant):
        self.asked[tenant] += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            if tenant in self.slow:
                self.goes_on.wait(30)
                raise RegistryError("versions", "no answer", "start MLflow")
            return [Version(tenant, "3", sha256="e" * 64)]
        finally:
            self.inside -= 1


@pytest.fixture
def registry():
    return FakeRegistry()


def test_one_tenant_s_slow_lookup_holds_up_no_other_and_is_shared(registry):
    registry.slow = {"alder"}

    async def talk():
        found = VersionLookup(registry.find_versions)
        slow = [asyncio.create_task(found.find_version("alder", "7", use_cached=True)) for _ in range(10)]
        await asyncio.sleep(0)
        for _ in range(2):
            version = await asyncio.wait_for(found.find_version("birch", "3", use_cached=True), 20)
        registry.goes_on.set()
        return version, await asyncio.gather(*slow, return_exceptions=True)

    version, told = asyncio.run(talk())
    assert version.tenant == "birch"
    assert [type(one) for one in told] == [RegistryError] * 10
    assert registry.asked == {"alder": 1, "birch": 1}


def test_who_leaves_takes_nobody_s_lookup_with_him(registry):
    registry.slow = {"alder"}

    async def talk():
        found = VersionLookup(registry.find_versions)
        first, second = (asyncio.create_task(found.find_version("alder", "3", use_cached=False)) for _ in range(2))
        while not registry.asked:
            await asyncio.sleep(0.01)
        first.cancel()
        registry.goes_on.set()
        await second

    with pytest.raises(RegistryError):
        asyncio.run(talk())


def test_a_failure_is_cached_for_2_seconds_and_versions_for_longer(registry):
    now_s = 0.0
    registry.goes_on.set()

    async def find(found, *, keep):
        try:
            return (await found.find_version("alder", "3", use_cached=keep)).version
        except RegistryError:
            return "failed"

    async def talk():
        nonlocal now_s
        lookup = VersionLookup(registry.find_versions, lambda: now_s)
        results = [await find(lookup, keep=False)]
        registry.slow = {"alder"}
        now_s += 2
        results.append(await find(lookup, keep=False))
        now_s += 1.9
        results += [await find(lookup, keep=False), await find(lookup, keep=True)]
        asked = registry.asked["alder"]
        registry.slow.clear()
        now_s += 0.1
        return [*results, await find(lookup, keep=False)], asked

    assert asyncio.run(talk()) == (["3", "failed", "failed", "3", "3"], 2)


def test_a_registry_that_hangs_keeps_few_threads(registry):
    registry.slow = {f"t{number}" for number in range(40)}

    async def talk():
        found = VersionLookup(registry.find_versions)
        asks = [asyncio.create_task(found.find_version(tenant, "1", use_cached=False)) for tenant in registry.slow]
        await asyncio.sleep(0.2)
        assert await asyncio.to_thread(lambda: "other work goes on") == "other work goes on"
        registry.goes_on.set()
        await asyncio.gather(*asks, return_exceptions=True)

    asyncio.run(talk())
    assert registry.most == 4
