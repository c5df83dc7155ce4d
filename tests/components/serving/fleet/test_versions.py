"""The versions that answer follow the aliases, and the traffic split of the trials."""

import asyncio

import pytest

from components.errors import RegistryError
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.types import Exposure
from components.serving.errors import RefusalError
from components.serving.fleet.version_lookup import VersionLookup
from components.serving.fleet.versions import FleetVersions


def make_version(tenant, number, digest=None):
    return Version(tenant, str(number), sha256=(digest or f"{tenant}{number}").ljust(64, "0"))


class World:
    """A registry and a rollout that a test changes; the registry raises while it `fails`."""

    def __init__(self):
        self.champions = {"alder": make_version("alder", 1), "birch": make_version("birch", 1)}
        self.challengers, self.exposures, self.fails = {}, {}, False
        self.reads, self.now_s = 0, 100.0

    def read_aliases(self):
        self.reads += 1
        if self.fails:
            raise RegistryError("every tenant's champion", "no answer", "start MLflow")
        return {CHAMPION: dict(self.champions), CHALLENGER: dict(self.challengers)}

    def list_versions(self, tenant):
        if self.fails:
            raise RegistryError("versions", "no answer", "start MLflow")
        return [make_version(tenant, number) for number in (3, 2, 1)] if tenant in self.champions else []

    def make_fleet(self, **listeners):
        lookup = VersionLookup(lambda tenant: self.list_versions(tenant), lambda: self.now_s)
        return FleetVersions(self.read_aliases, lookup, lambda: dict(self.exposures), **listeners)


@pytest.fixture
def world():
    return World()


async def choose(fleet, selector="", key="key"):
    return await fleet.choose("alder", selector, key)


def test_a_moved_alias_is_followed_at_the_next_refresh(world):
    async def talk():
        fleet = world.make_fleet()
        await fleet.refresh()
        before = await choose(fleet)
        world.champions["alder"] = make_version("alder", 2)
        still = await choose(fleet)
        await fleet.refresh()
        return [one.version.version for one in (before, still, await choose(fleet))], fleet.swap_count

    assert asyncio.run(talk()) == (["1", "1", "2"], 1)


def test_changed_versions_are_preloaded_before_they_answer(world):
    preloading, events = asyncio.Event(), []

    async def preload(artifact):
        preloading.set()
        await asyncio.sleep(0)
        events.append((artifact.tenant, artifact.version))

    async def talk():
        fleet = world.make_fleet(preload=preload)
        await fleet.refresh()
        assert events == []
        world.champions["alder"] = make_version("alder", 2)
        world.challengers["birch"] = make_version("birch", 2)
        refreshing = asyncio.create_task(fleet.refresh())
        await preloading.wait()
        while len(events) < 2:
            assert (await choose(fleet)).version.version == "1"
            await asyncio.sleep(0)
        await refreshing
        return (await choose(fleet)).version.version

    assert asyncio.run(talk()) == "2"
    assert sorted(events) == [("alder", "2"), ("birch", "2")]


def test_while_the_registry_fails_the_last_snapshot_stays_in_use(world):
    async def talk():
        fleet = world.make_fleet()
        with pytest.raises(RefusalError, match="registry") as early:
            await choose(fleet)
        assert early.value.status == 503
        await fleet.refresh()
        numbered = await choose(fleet, "2")
        world.fails = True
        await fleet.refresh()
        assert "no answer" in fleet.read_errors["registry"]
        assert (await choose(fleet)).version.version == "1"
        assert await choose(fleet, "2") == numbered, "cached"
        with pytest.raises(RegistryError):
            await fleet.choose("birch", "3", "key")
        world.fails = False
        await fleet.refresh()
        assert fleet.read_errors == {}

    asyncio.run(talk())


@pytest.mark.parametrize("selector", ["challenger", "9", "nothing", "champion "])
def test_an_unknown_version_or_alias_is_404(world, selector):
    async def talk():
        fleet = world.make_fleet()
        await fleet.refresh()
        with pytest.raises(RefusalError) as refused:
            await choose(fleet, selector)
        return refused.value.status

    assert asyncio.run(talk()) == 404


def choose_for_users(world, selector="", count=2000):
    async def talk():
        fleet = world.make_fleet()
        await fleet.refresh()
        return [await choose(fleet, selector, f"user-{number}") for number in range(count)]

    return asyncio.run(talk())


def test_a_canary_answers_its_share_and_always_the_same_users(world):
    world.challengers["alder"] = make_version("alder", 2)
    world.exposures["alder"] = Exposure("2", 0.25, shadow=False)
    choices = choose_for_users(world)
    challengers = [choice for choice in choices if choice.arm == "challenger"]
    assert 400 < len(challengers) < 600
    assert all(choice.version.version == "2" and choice.fallback.version == "1" for choice in challengers)
    assert choose_for_users(world) == choices
    assert {choice.arm for choice in choose_for_users(world, "champion", 200)} == {"champion"}
    assert {choice.version.version for choice in choose_for_users(world, "challenger", 20)} == {"2"}


def test_a_shadow_never_answers(world):
    world.challengers["alder"] = make_version("alder", 2)
    world.exposures["alder"] = Exposure("2", 0.5, shadow=True)
    choices = choose_for_users(world)
    assert {choice.version.version for choice in choices} == {"1"}
    shadows = [choice.shadow for choice in choices if choice.shadow]
    assert 900 < len(shadows) < 1100
    assert {shadow.version for shadow in shadows} == {"2"}


def test_a_trial_of_another_version_than_the_alias_is_not_followed(world):
    world.challengers["alder"] = make_version("alder", 3)
    world.exposures["alder"] = Exposure("2", 1.0, shadow=False)
    assert {choice.version.version for choice in choose_for_users(world, count=50)} == {"1"}


def test_it_refreshes_again_and_again(world):
    async def talk():
        fleet = world.make_fleet()
        following = asyncio.create_task(fleet.run_forever(0.001))
        while world.reads < 3:
            await asyncio.sleep(0.001)
        world.champions["alder"] = make_version("alder", 2)
        while fleet.swap_count < 1 or (await choose(fleet)).version.version != "2":
            await asyncio.sleep(0.001)
        following.cancel()

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_overlapping_refreshes_never_restore_an_older_snapshot(world):
    async def talk():
        preloading, may_go_on = asyncio.Event(), asyncio.Event()

        async def preload(artifact):
            if artifact.version == "2":
                preloading.set()
                await may_go_on.wait()

        fleet = world.make_fleet(preload=preload)
        await fleet.refresh()
        world.champions["alder"] = make_version("alder", 2)
        slow = asyncio.create_task(fleet.refresh())
        await preloading.wait()
        world.champions["alder"] = make_version("alder", 3)
        fast = asyncio.create_task(fleet.refresh())
        await asyncio.sleep(0)
        may_go_on.set()
        await asyncio.gather(slow, fast)
        return await choose(fleet)

    assert asyncio.run(talk()).version.version == "3"


def test_a_number_that_was_reused_is_answered_by_its_new_version_and_a_deleted_one_by_none(world):
    listings = [[make_version("alder", 1, "old")], [make_version("alder", 1, "new")], []]
    world.list_versions = lambda tenant: listings[0]

    async def talk():
        fleet = world.make_fleet()
        await fleet.refresh()
        digests = []
        for _ in range(2):
            digests.append((await choose(fleet, "1")).version.sha256[:3])
            world.now_s += 5
            listings.pop(0)
        with pytest.raises(RefusalError, match="no version 1"):
            await choose(fleet, "1")
        return digests

    assert asyncio.run(talk()) == ["old", "new"]


def test_removed_tenants_are_reported_even_if_another_listener_fails(world):
    removed, reads = [], []

    def on_read(aliased):
        reads.append(sorted(digest[:6] for digest in aliased))
        if len(reads) == 2:
            raise OSError("a disk")

    async def talk():
        fleet = world.make_fleet(on_read=on_read, on_tenant_removed=removed.append)
        await fleet.refresh()
        del world.champions["alder"]
        with pytest.raises(OSError, match="a disk"):
            await fleet.refresh()
        await asyncio.wait_for(fleet.refresh(), 60)

    asyncio.run(talk())
    assert removed == ["alder"]
    assert reads == [["alder1", "birch1"], ["birch1"], ["birch1"]]
