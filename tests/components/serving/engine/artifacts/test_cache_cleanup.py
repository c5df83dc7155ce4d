"""What MLflow holds no more leaves with the next look; everything else stays."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from components.errors import RegistryError
from components.model.base.load import Base
from components.serving.engine.artifacts.cache import ArtifactCache, ArtifactMemoryLimits
from components.serving.fleet.artifact_cleanup import ArtifactCleanup
from components.serving.interface import ArtifactRef


class FakeRegistry:
    """Tenant -> sha256s, and how often it was asked for whom."""

    def __init__(self, artifacts: Collection[ArtifactRef]) -> None:
        self.held = {artifact.tenant: {artifact.sha256} for artifact in artifacts}
        self.asked: list[list[str]] = []
        self.gone = False

    def find_sha256s(self, tenants: Collection[str]) -> dict[str, set[str]]:
        self.asked.append(list(tenants))
        if self.gone:
            raise RegistryError("prefixes", "no answer", "start MLflow")
        return {tenant: self.held[tenant] for tenant in tenants if tenant in self.held}


@pytest.fixture
def tended(build_base: Callable[..., Base], store_of: Any, random_prefix: Any, tmp_path: Path) -> Callable[..., Any]:
    """A function of a number to as many tenants' artifacts, near the base, and what tends them."""

    def make(count: int, **memory: int) -> Any:
        base = build_base("gpt2")
        store = store_of(base)
        artifacts = [store.add(f"tenant-{number}", random_prefix(base, 1, number)) for number in range(count)]
        residents = ArtifactCache(base, store, tmp_path / "cache", ArtifactMemoryLimits(**memory))

        async def load() -> None:
            for artifact in artifacts:
                await residents.acquire(artifact)
                residents.release(artifact)

        asyncio.run(load())
        registry = FakeRegistry(artifacts)
        return artifacts, residents, registry, ArtifactCleanup(residents, registry.find_sha256s)

    return make


def look(tending: ArtifactCleanup, *standing: ArtifactRef) -> None:
    asyncio.run(tending.evict_unregistered({artifact.sha256 for artifact in standing}))


def test_who_was_forgotten_leaves_at_the_next_look(tended: Any) -> None:
    (first, second, third), residents, registry, tending = tended(3)
    with closing(residents):
        look(tending, first, second, third)
        assert registry.asked == []
        del registry.held["tenant-1"]
        registry.held["tenant-2"] = {"another"}
        look(tending, first)
        assert residents.owners == {first.sha256: "tenant-0"}
        assert residents.counts[0] == 1
        assert registry.asked == [["tenant-1", "tenant-2"]]


def test_versions_without_an_alias_stay_while_mlflow_holds_them(tended: Any) -> None:
    artifacts, residents, registry, tending = tended(2)
    with closing(residents):
        look(tending)
        assert len(residents.owners) == 2
        registry.held["tenant-0"] = set()
        look(tending, artifacts[1])
        assert set(residents.owners.values()) == {"tenant-1"}


def test_what_lies_on_disk_alone_leaves_too(tended: Any, tmp_path: Path) -> None:
    _, residents, registry, tending = tended(4, device=1 << 10)
    with closing(residents):
        assert residents.counts[0] < 4
        registry.held.clear()
        look(tending)
        assert residents.owners == {}
        assert list((tmp_path / "cache").iterdir()) == []


def test_another_tenants_same_content_stays(tended: Any) -> None:
    (artifact,), residents, registry, tending = tended(1)
    with closing(residents):
        registry.held = {}
        look(tending, ArtifactRef("other", "1", artifact.sha256))
        assert residents.owners == {artifact.sha256: "tenant-0"}


def test_without_a_registry_everything_stays(tended: Any) -> None:
    _, residents, registry, tending = tended(1)
    with closing(residents):
        registry.gone = True
        look(tending)
        assert len(residents.owners) == 1
        registry.gone = False
        registry.held.clear()
        look(tending)
        assert residents.owners == {}


def test_many_loose_artifacts_are_looked_up_in_turn(tended: Any) -> None:
    artifacts, residents, registry, tending = tended(40)
    with closing(residents):
        for _ in range(3):
            look(tending)
        first, second, third = map(set, registry.asked)
        assert [len(asked) for asked in (first, second, third)] == [32, 32, 32]
        assert first | second == {artifact.tenant for artifact in artifacts}
        assert third > first - second, "those that were asked for longest ago"


def test_whose_champion_has_changed_is_looked_up_before_all_others(tended: Any) -> None:
    artifacts, residents, registry, tending = tended(70)
    with closing(residents):
        last = sorted(artifacts, key=lambda artifact: artifact.tenant)[-1]
        for standing in ([last], []):
            look(tending, *standing)
        first, second = map(set, registry.asked)
        assert last.tenant in second - first
        assert len(first & second) == 0


def test_it_follows_what_it_hears_and_goes_on_without_a_registry(tended: Any) -> None:
    (artifact,), residents, registry, tending = tended(1)

    async def talk() -> None:
        following = asyncio.create_task(tending.run_forever())
        registry.gone = True
        tending.notify({artifact.sha256})
        tending.notify(())
        while not registry.asked:
            await asyncio.sleep(0.01)
        registry.gone = False
        registry.held.clear()
        tending.notify(())
        while residents.owners:
            await asyncio.sleep(0.01)
        following.cancel()

    with closing(residents):
        asyncio.run(asyncio.wait_for(talk(), 30))
        assert registry.asked == [["tenant-0"]] * 2
