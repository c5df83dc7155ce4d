import asyncio
from dataclasses import replace

import pytest

from components.errors import RegistryError
from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.types import Exposure
from components.serving.errors import RefusalError
from components.serving.fleet.version_lookup import VersionLookup
from components.serving.fleet.versions import FleetVersions


def version(tenant, number, digest=None):
    return Version(tenant, str(number), sha256=(digest or f"{tenant}{number}").ljust(64, "0"))


class World:
    """A registry and a rollout that can be changed, and taken away."""

    def __init__(self):
        self.champions = {"alder": version("alder", 1), "birch": version("birch", 1)}
        self.challengers, self.shares, self.gone = {}, {}, False
        self.looks, self.now_s = 0, 100.0

    def aliases(self):
        self.looks += 1
        if self.gone:
            raise RegistryError("every tenant's champion", "no answer", "start MLflow")
        return {CHAMPION: dict(self.champions), CHALLENGER: dict(self.challengers)}

    def versions(self, tenant):
        if self.gone:
            raise RegistryError("versions", "no answer", "start MLflow")
        return [version(tenant, number) for number in (3, 2, 1)] if tenant in self.champions else []

    def exposures(self):
        return dict(self.shares)

    def fleet(self, **listeners):
        return FleetVersions(
            self.aliases, VersionLookup(self.versions, lambda: self.now_s), self.exposures, **listeners
        )


@pytest.fixture
def world():
    return World()


def test_a_swap_shows_at_the_next_look_and_no_sooner(world):
    async def talk():
        fleet = world.fleet()
        await fleet.refresh()
        before = await fleet.choose("alder", "", "key")
        world.champions["alder"] = version("alder", 2)
        still = await fleet.choose("alder", "", "key")
        await fleet.refresh()
        return before, still, await fleet.choose("alder", "", "key"), fleet.swap_count

    before, still, after, swaps = asyncio.run(talk())
    assert (before.version.version, still.version.version, after.version.version) == ("1", "1", "2")
    assert swaps == 1


def test_what_is_swapped_in_is_brought_near_before_it_serves(world):
    order = []

    async def warm(artifact):
        await asyncio.sleep(0.01)
        order.append(("warm", artifact.tenant, artifact.version))

    async def talk():
        fleet = world.fleet(preload=warm)
        await fleet.refresh()
        assert order == []
        world.champions["alder"] = version("alder", 2)
        world.challengers["birch"] = version("birch", 2)
        looking = asyncio.create_task(fleet.refresh())
        while not looking.done():
            order.append(("asks", "alder", (await fleet.choose("alder", "", "key")).version.version))
            await asyncio.sleep(0.001)
        order.append(("asks", "alder", (await fleet.choose("alder", "", "key")).version.version))

    asyncio.run(talk())
    warmed = [one for one in order if one[0] == "warm"]
    assert warmed == [("warm", "alder", "2"), ("warm", "birch", "2")]
    first = next(place for place, one in enumerate(order) if one == ("asks", "alder", "2"))
    assert first > order.index(("warm", "alder", "2"))


def test_without_a_registry_the_last_map_stays_and_says_so(world):
    async def talk():
        fleet = world.fleet()
        with pytest.raises(RefusalError, match="registry") as early:
            await fleet.choose("alder", "", "key")
        await fleet.refresh()
        numbered = await fleet.choose("alder", "2", "key")
        world.gone = True
        await fleet.refresh()
        assert "no answer" in fleet.read_errors["registry"]
        same = await fleet.choose("alder", "", "key"), await fleet.choose("alder", "2", "key")
        with pytest.raises(RegistryError):
            await fleet.choose("birch", "3", "key")
        world.gone = False
        await fleet.refresh()
        return early.value.status, numbered, same, fleet.read_errors

    status, numbered, (champion, again), trouble = asyncio.run(talk())
    assert status == 503
    assert champion.version.version == "1"
    assert again == numbered
    assert trouble == {}


@pytest.mark.parametrize("which", ["challenger", "9", "nothing", "champion "])
def test_what_is_not_there_is_not_found(world, which):
    async def talk():
        fleet = world.fleet()
        await fleet.refresh()
        with pytest.raises(RefusalError) as refused:
            await fleet.choose("alder", which, "key")
        return refused.value.status

    assert asyncio.run(talk()) == 404


def chosen(world, which="", count=2000):
    async def talk():
        fleet = world.fleet()
        await fleet.refresh()
        return [await fleet.choose("alder", which, f"user-{number}") for number in range(count)]

    return asyncio.run(talk())


def test_a_canary_answers_its_share_and_sticks_to_its_users(world):
    world.challengers["alder"] = version("alder", 2)
    world.shares["alder"] = Exposure("2", 0.25, shadow=False)
    choices = chosen(world)
    challengers = [choice for choice in choices if choice.arm == "challenger"]
    assert 400 < len(challengers) < 600
    assert all(choice.version.version == "2" and choice.fallback.version == "1" for choice in challengers)
    assert chosen(world) == choices
    assert {choice.arm for choice in chosen(world, "champion")} == {"champion"}
    assert {choice.version.version for choice in chosen(world, "challenger", 20)} == {"2"}


def test_a_shadow_is_never_seen(world):
    world.challengers["alder"] = version("alder", 2)
    world.shares["alder"] = Exposure("2", 0.5, shadow=True)
    choices = chosen(world)
    assert {choice.version.version for choice in choices} == {"1"}
    shadows = [choice.shadow for choice in choices if choice.shadow]
    assert 900 < len(shadows) < 1100
    assert {shadow.version for shadow in shadows} == {"2"}


def test_a_trial_of_another_version_than_the_alias_is_not_followed(world):
    world.challengers["alder"] = version("alder", 3)
    world.shares["alder"] = Exposure("2", 1.0, shadow=False)
    assert {choice.version.version for choice in chosen(world, count=50)} == {"1"}


def test_versions_without_a_digest_do_not_serve(world):
    world.champions["alder"] = replace(version("alder", 1), sha256="")

    async def talk():
        fleet = world.fleet()
        await fleet.refresh()
        with pytest.raises(RefusalError, match="no champion"):
            await fleet.choose("alder", "", "key")

    asyncio.run(talk())


def test_it_looks_again_and_again(world):
    async def talk():
        fleet = world.fleet()
        following = asyncio.create_task(fleet.run_forever(0.02))
        await asyncio.sleep(0.2)
        world.champions["alder"] = version("alder", 2)
        await asyncio.sleep(0.2)
        following.cancel()
        return (await fleet.choose("alder", "", "key")).version.version

    assert asyncio.run(talk()) == "2"
    assert world.looks > 4


def test_looks_that_overlap_never_bring_back_an_older_map(world):
    async def talk():
        warmed = asyncio.Event()

        async def warm(artifact):
            if artifact.version == "2":
                warmed.set()
                await asyncio.sleep(0.05)

        fleet = world.fleet(preload=warm)
        await fleet.refresh()
        world.champions["alder"] = version("alder", 2)
        slow = asyncio.create_task(fleet.refresh())
        await warmed.wait()
        world.champions["alder"] = version("alder", 3)
        await asyncio.gather(slow, fleet.refresh())
        return await fleet.choose("alder", "", "key")

    assert asyncio.run(talk()).version.version == "3"


def test_a_number_that_is_another_version_s_now_is_never_answered_by_the_former(world):
    known = [[version("alder", 1, "old")], [version("alder", 1, "new")], []]

    async def talk():
        world.versions = lambda tenant: known[0]
        fleet = world.fleet()
        await fleet.refresh()
        found = []
        for _ in known[:2]:
            found.append((await fleet.choose("alder", "1", "key")).version.sha256[:3])
            world.now_s += 5
            known.pop(0)
        with pytest.raises(RefusalError, match="no version 1"):
            await fleet.choose("alder", "1", "key")
        return found

    assert asyncio.run(talk()) == ["old", "new"]


def test_who_is_gone_is_told_whatever_becomes_of_the_tending(world):
    removed, read = [], []

    def tend(aliased):
        read.append(sorted(digest[:6] for digest in aliased))
        if len(read) == 2:
            raise OSError("a disk")

    async def talk():
        fleet = world.fleet(on_read=tend, on_tenant_removed=removed.append)
        await fleet.refresh()
        del world.champions["alder"]
        with pytest.raises(OSError, match="a disk"):
            await fleet.refresh()
        await asyncio.wait_for(fleet.refresh(), 10)

    asyncio.run(talk())
    assert removed == ["alder"]
    assert read == [["alder1", "birch1"], ["birch1"], ["birch1"]]
