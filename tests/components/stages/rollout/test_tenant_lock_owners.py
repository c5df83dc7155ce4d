"""Two workspaces with one MLflow: no move of another workspace's tenant, until it is taken over."""

import pytest
import yaml

from components.errors import OwnershipError, RegistryError
from components.rollout.store.ledger import read_history
from components.stages import register
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.rollout.cycle import run_cycle
from components.stages.workspace import Workspace


@pytest.fixture
def fleet(make_fleet):
    """A workspace with a champion of alder, version 1."""
    fleet = make_fleet({}, folder="one")
    fleet.register("alder", owner=fleet.workspace.registry.ownership.owner)
    fleet.set_aliases("alder", champion="1")
    return fleet


@pytest.fixture
def other(fleet, tmp_path):
    """Another workspace with the MLflow of `fleet`."""
    root = tmp_path / "other"
    root.mkdir()
    params = {"base": {"path": "base"}, "registry": {"tracking_uri": fleet.workspace.registry.uri}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    return Workspace(root)


def test_no_command_moves_another_workspace_s_version(fleet, other):
    for act in (
        lambda: manual.promote(other, "alder", "1"),
        lambda: manual.roll_back(other, "alder", "1"),
        lambda: manual.hold(other, "alder", "pin"),
    ):
        with pytest.raises(OwnershipError, match="prefixfleet adopt alder"):
            act()
    promoted, failures = register.roll_out(other, {"alder": other.registry.find_versions("alder")[0]}, [])
    assert (promoted, [one.stage for one in failures]) == ({}, ["roll out"])
    assert run_cycle(other) == ([], [])  # it has never rolled alder out


def test_a_workspace_whose_tenant_was_taken_over_is_told_in_every_cycle(fleet, other):
    fleet.register("birch", owner=fleet.workspace.registry.ownership.owner)
    fleet.set_aliases("birch", champion="1")
    assert fleet.run_cycle() == ([], [])
    assert [one.version for one in manual.adopt(other, "alder", Actor("ada"))] == ["1"]
    assert manual.hold(other, "alder", "pin").pinned
    assert next((one.by, one.action) for one in read_history(other.database, "alder")) == ("ada", "adopt")
    results, (failure,) = fleet.run_cycle()
    assert (results, failure.tenant) == ([], "alder")
    assert other.registry.ownership.owner in failure.detail
    assert manual.hold(fleet.workspace, "birch", "pin").pinned
    with pytest.raises(RegistryError, match="none"):
        manual.adopt(other, "alder", Actor("ada"))


def test_a_version_that_is_not_ours_is_not_promoted(make_fleet):
    fleet = make_fleet({})
    fleet.register("alder")
    fleet.client.create_model_version("prefix-alder", "/nowhere")
    with pytest.raises(RegistryError, match=r"version 2: it was not registered by PrefixFleet"):
        manual.promote(fleet.workspace, "alder", "2")
    assert manual.promote(fleet.workspace, "alder").version == "1"
    assert manual.promote(fleet.workspace, "alder", "1").version == "1"


def test_a_cycle_names_versions_that_cannot_serve(make_fleet, caplog):
    fleet = make_fleet({})
    fleet.register("alder")
    fleet.client.create_model_version("prefix-alder", "/nowhere")
    fleet.set_aliases("alder", champion="1", challenger="2")
    fleet.run_cycle()
    assert "alder: challenger version 2 cannot serve: it was not registered by PrefixFleet" in caplog.text


def test_a_champion_that_cannot_serve_is_replaced_at_once(make_fleet):
    fleet = make_fleet({"policy": "canary"})
    fleet.register("alder")
    fleet.client.create_model_version("prefix-alder", "/nowhere")
    fleet.set_aliases("alder", champion="2")
    version = fleet.workspace.registry.find_versions("alder")[1]
    promoted, failures = register.roll_out(fleet.workspace, {"alder": version}, [])
    assert (promoted, failures) == ({"alder": "1"}, [])
