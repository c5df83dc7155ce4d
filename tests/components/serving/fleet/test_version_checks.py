"""While the fleet moves to another base, a server answers for the tenants on its own base and refuses the others."""

import asyncio
import time

import pytest

from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.rollout.types import Exposure
from components.serving.errors import RefusalError
from components.serving.fleet.version_lookup import VersionLookup
from components.serving.fleet.versions import FleetVersions

OWN, OTHER = "a" * 64, "b" * 64


def make_version(tenant, number, base):
    tags = {"base_digest": base} if base else {}
    return Version(tenant, str(number), sha256=f"{number}".ljust(64, "0"), tags=tags)


def make_fleet(champions, challengers=None, exposures=None, base=OWN, preload=None, numbered=(), interchangeable=()):
    return FleetVersions(
        lambda: {CHAMPION: dict(champions), CHALLENGER: dict(challengers or {})},
        VersionLookup(lambda _: list(numbered)),
        lambda: exposures or {},
        preload=preload,
        get_base_digest=lambda: base,
        interchangeable=interchangeable,
    )


def choose(fleet, tenant, selector=""):
    async def talk():
        await fleet.refresh()
        return await fleet.choose(tenant, selector, "user")

    return asyncio.run(talk())


@pytest.mark.parametrize("selector", ["", "champion", "2"])
def test_a_tenant_that_has_moved_is_503_with_both_bases(selector):
    moved = make_version("alder", 2, OTHER)
    with pytest.raises(RefusalError) as caught:
        choose(make_fleet({"alder": moved}, numbered=[moved]), "alder", selector)
    assert (caught.value.status, caught.value.code) == (503, "other_base")
    assert OWN[:12] in str(caught.value)
    assert OTHER[:12] in str(caught.value)
    assert "the server of that base" in str(caught.value)


@pytest.mark.parametrize(("tag", "base"), [(OWN, OWN), ("", OWN), (OTHER, "")])
def test_versions_of_this_base_and_of_unknown_ones_are_not_refused(tag, base):
    version = make_version("alder", 1, tag)
    assert choose(make_fleet({"alder": version}, base=base), "alder").version == version


@pytest.mark.parametrize("selector", ["", "champion", "2"])
def test_versions_of_an_interchangeable_base_are_not_refused(selector):
    version = make_version("alder", 2, OTHER)
    fleet = make_fleet({"alder": version}, numbered=[version], interchangeable=[OTHER])
    assert choose(fleet, "alder", selector).version == version
    assert not fleet.is_on_other_base(version)
    with pytest.raises(RefusalError, match="on base"):
        choose(make_fleet({"alder": version}, interchangeable=["c" * 64]), "alder")


def test_a_challenger_on_another_base_gets_no_share_of_the_traffic():
    champion, challenger = make_version("alder", 1, OWN), make_version("alder", 2, OTHER)
    exposure = Exposure("2", 1.0, False, 0.0, int(time.time()))
    fleet = make_fleet({"alder": champion}, {"alder": challenger}, {"alder": exposure})
    assert choose(fleet, "alder").version == champion
    with pytest.raises(RefusalError, match="on base"):
        choose(fleet, "alder", "challenger")


def test_only_versions_of_this_base_are_loaded_ahead():
    loaded, champions = [], {}

    async def preload(artifact):
        loaded.append(artifact.tenant)

    fleet = make_fleet(champions, preload=preload)
    fleet._aliases = lambda: {CHAMPION: dict(champions), CHALLENGER: {}}

    async def talk():
        await fleet.refresh()
        champions.update(alder=make_version("alder", 1, OWN), birch=make_version("birch", 1, OTHER))
        await fleet.refresh()

    asyncio.run(talk())
    assert loaded == ["alder"]
