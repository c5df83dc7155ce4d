"""Versions that were registered by hand, or whose model was renamed: 503 with the reason, and one line in the log."""

import asyncio
from dataclasses import replace

import pytest

from components.registry.mlflow.versions import CHALLENGER, CHAMPION, Version
from components.serving.errors import RefusalError
from components.serving.fleet.version_lookup import VersionLookup
from components.serving.fleet.versions import FleetVersions


def make_version(tenant, number):
    return Version(tenant, str(number), sha256=f"{tenant}{number}".ljust(64, "0"))


class Aliases:
    """Champions and challengers that a test changes."""

    def __init__(self):
        self.champions = {tenant: make_version(tenant, 1) for tenant in ("alder", "birch")}
        self.challengers = {}

    def make_fleet(self, list_versions=list, **listeners):
        return FleetVersions(
            lambda: {CHAMPION: dict(self.champions), CHALLENGER: dict(self.challengers)},
            VersionLookup(list_versions),
            dict,
            **listeners,
        )


def test_an_alias_on_a_version_that_cannot_answer_is_503_and_told_once(caplog):
    by_hand = Version("alder", "4")
    renamed = replace(make_version("cedar", 1), tags={"tenant": "birch"})

    world = Aliases()

    async def talk():
        fleet = world.make_fleet(on_tenant_removed=removed.append)
        await fleet.refresh()
        world.champions |= {"alder": by_hand, "cedar": renamed}
        world.challengers["birch"] = replace(by_hand, tenant="birch")
        for _ in range(3):
            await fleet.refresh()
        assert fleet.has_tenant("alder")
        for tenant, selector, words in (
            ("alder", "", "version 4: it was not registered by PrefixFleet"),
            ("alder", "champion", "version 4"),
            ("cedar", "", "registered for birch"),
            ("birch", "challenger", "version 4"),
        ):
            with pytest.raises(RefusalError, match=words) as refused:
                await fleet.choose(tenant, selector, "key")
            assert (refused.value.status, refused.value.retry_after) == (503, None)
        assert (await fleet.choose("birch", "", "key")).version.version == "1"
        world.champions["alder"] = make_version("alder", 1)
        del world.champions["cedar"]
        await fleet.refresh()
        assert (await fleet.choose("alder", "", "key")).version.version == "1"
        return fleet.snapshot.unusable

    removed = []
    unusable = asyncio.run(talk())
    assert (unusable[CHAMPION], list(unusable[CHALLENGER]), removed) == ({}, ["birch"], ["cedar"])
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 6
    assert "cedar: no version has the alias champion or challenger any more; requests get 404" in told
    assert (
        "alder: champion version 4 cannot answer: it was not registered by PrefixFleet (it has no tag sha256)" in told
    )


def test_a_version_that_cannot_answer_is_503_by_its_number_too():

    async def talk():
        fleet = Aliases().make_fleet(lambda tenant: [Version(tenant, "4"), make_version(tenant, 1)])
        await fleet.refresh()
        with pytest.raises(RefusalError, match="not registered by PrefixFleet") as refused:
            await fleet.choose("alder", "4", "key")
        return refused.value.status

    assert asyncio.run(talk()) == 503
