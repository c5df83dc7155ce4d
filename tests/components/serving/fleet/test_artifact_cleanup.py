"""Artifacts that MLflow no longer holds leave the engine at the next cleanup; all others stay."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest

from components.errors import RegistryError
from components.serving.background_engine import BackgroundEngine
from components.serving.fleet.artifact_cleanup import ArtifactCleanup


class FakeRegistry:
    """Tenant -> sha256s of its versions, and the tenants of each lookup."""

    def __init__(self, owners: dict[str, str]) -> None:
        self.registered = {tenant: {sha256} for sha256, tenant in owners.items()}
        self.lookups: list[list[str]] = []
        self.fails = False

    def find_sha256s(self, tenants: Collection[str]) -> dict[str, set[str]]:
        self.lookups.append(list(tenants))
        if self.fails:
            raise RegistryError("prefixes", "no answer", "start MLflow")
        return {tenant: self.registered[tenant] for tenant in tenants if tenant in self.registered}


class FakeArtifacts:
    """What an engine holds, and a store whose next fetches fail."""

    def __init__(self, owners: dict[str, str]) -> None:
        self.owners = dict(owners)
        self.failures_left = 0

    @property
    def store_error(self) -> str:
        return "no answer" if self.failures_left else ""

    async def retry_failed_fetch(self) -> None:
        self.failures_left -= 1

    def evict(self, sha256s: Iterable[str]) -> None:
        for sha256 in sha256s:
            del self.owners[sha256]


class FakeEngine:
    base_name = "tiny"

    def __init__(self, artifacts: FakeArtifacts) -> None:
        self.artifact_cache = artifacts


@pytest.fixture
def make() -> Callable[[int], Any]:
    """A function of a number of tenants to their held artifacts, the registry, the cleanup and its engine."""

    def make(count: int) -> Any:
        owners = {f"sha-{number:02}": f"tenant-{number:02}" for number in range(count)}
        artifacts, registry = FakeArtifacts(owners), FakeRegistry(owners)
        engine: Any = FakeEngine(artifacts)
        background = BackgroundEngine(lambda: engine)
        return artifacts, registry, ArtifactCleanup(background, registry.find_sha256s), background

    return make


@pytest.fixture
def loaded(make: Callable[[int], Any]) -> Callable[[int], Any]:
    """The same without the engine, which is loaded."""

    def make_loaded(count: int) -> Any:
        *parts, background = make(count)
        asyncio.run(background.load())
        return parts

    return make_loaded


def clean_up(cleanup: ArtifactCleanup, *aliased: str) -> None:
    asyncio.run(cleanup.evict_unregistered(set(aliased)))


def test_artifacts_of_forgotten_tenants_and_deleted_versions_are_evicted(loaded: Any) -> None:
    artifacts, registry, cleanup = loaded(3)
    clean_up(cleanup, *artifacts.owners)
    assert registry.lookups == [], "champions and challengers are not looked up"
    del registry.registered["tenant-01"]
    registry.registered["tenant-02"] = {"another"}
    clean_up(cleanup, "sha-00")
    assert artifacts.owners == {"sha-00": "tenant-00"}
    assert registry.lookups == [["tenant-01", "tenant-02"]]


def test_versions_without_an_alias_stay_while_the_registry_holds_them(loaded: Any) -> None:
    artifacts, registry, cleanup = loaded(2)
    clean_up(cleanup)
    assert len(artifacts.owners) == 2
    registry.registered["tenant-00"] = set()
    clean_up(cleanup, "sha-01")
    assert artifacts.owners == {"sha-01": "tenant-01"}


def test_content_that_another_tenant_has_registered_is_not_evicted(loaded: Any) -> None:
    artifacts, registry, cleanup = loaded(1)
    registry.registered = {}
    clean_up(cleanup, "sha-00")
    assert artifacts.owners == {"sha-00": "tenant-00"}


def test_nothing_is_evicted_while_the_registry_fails(loaded: Any) -> None:
    artifacts, registry, cleanup = loaded(1)
    registry.fails = True
    clean_up(cleanup)
    assert len(artifacts.owners) == 1
    registry.fails = False
    registry.registered.clear()
    clean_up(cleanup)
    assert artifacts.owners == {}


def test_a_cleanup_looks_up_32_tenants_and_the_next_one_the_others(loaded: Any) -> None:
    artifacts, registry, cleanup = loaded(40)
    for _ in range(3):
        clean_up(cleanup)
    first, second, third = map(set, registry.lookups)
    assert [len(tenants) for tenants in (first, second, third)] == [32, 32, 32]
    assert first | second == set(artifacts.owners.values())
    assert third > first - second, "those that were looked up longest ago"


def test_a_tenant_whose_champion_has_changed_is_looked_up_first(loaded: Any) -> None:
    _, registry, cleanup = loaded(70)
    clean_up(cleanup, "sha-69")
    clean_up(cleanup)
    first, second = map(set, registry.lookups)
    assert "tenant-69" in second - first
    assert len(first & second) == 0


def test_it_cleans_up_after_each_notification_and_goes_on_after_an_error_of_the_registry(make: Any) -> None:
    artifacts, registry, cleanup, background = make(1)

    async def talk() -> None:
        running = asyncio.create_task(cleanup.run_forever())
        cleanup.notify({"sha-00"})
        registry.fails = True
        cleanup.notify(())
        await asyncio.sleep(0)
        assert registry.lookups == [], "the engine is not loaded yet"
        await background.load()
        while not registry.lookups:
            await asyncio.sleep(0.01)
        registry.fails = False
        registry.registered.clear()
        cleanup.notify(())
        while artifacts.owners:
            await asyncio.sleep(0.01)
        running.cancel()

    asyncio.run(asyncio.wait_for(talk(), 30))
    assert registry.lookups == [["tenant-00"]] * 2


def test_the_store_is_asked_again_until_it_answers(make: Any, caplog: Any) -> None:
    artifacts, _, cleanup, background = make(1)
    artifacts.failures_left = 2

    async def talk() -> None:
        await background.load()
        retrying = asyncio.create_task(cleanup.retry_forever(0.001))
        while "answers again" not in caplog.text:
            await asyncio.sleep(0.001)
        retrying.cancel()

    asyncio.run(asyncio.wait_for(talk(), 30))
    assert artifacts.failures_left == 0
