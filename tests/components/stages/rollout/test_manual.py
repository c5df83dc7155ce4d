"""Manual commands: promote, roll back, pause and pin, on a real MLflow on SQLite."""

import pytest

from components.errors import RegistryError
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.rollout.cycle import summarize_cycle


def test_manual_moves_take_effect_and_are_recorded(fleet):
    fleet.register("alder", 2)
    fleet.roll_out("cedar")
    manual.promote(fleet.workspace, "alder", "1", by=Actor("ada"))
    with pytest.raises(RegistryError, match="a trial of alder"):
        manual.hold(fleet.workspace, "alder", "pause", by=Actor("ada"))
    fleet.set_aliases("alder", challenger="2")
    fleet.run_cycle()
    fleet.add_observations("alder", 50, {"requests": 20}, {"requests": 2})
    manual.hold(fleet.workspace, "alder", "pause", by=Actor("ada"))
    manual.hold(fleet.workspace, "alder", "pause", by=Actor("bob"))
    assert "1 waiting" in summarize_cycle(*fleet.run_cycle(2.0))
    manual.hold(fleet.workspace, "alder", "resume", by=Actor("ada"))
    assert "1 advanced" in summarize_cycle(*fleet.run_cycle(2.0))
    assert manual.roll_back(fleet.workspace, "alder", by=Actor("ada")) == ("2", "1")
    assert fleet.read_aliases("alder") == {"champion": "1"}

    manual.hold(fleet.workspace, "alder", "pin", by=Actor("ada"))
    for move in (manual.promote, manual.roll_back):
        with pytest.raises(RegistryError, match=r"version \d is pinned"):
            move(fleet.workspace, "alder")
    assert fleet.roll_out("alder") == {}
    assert fleet.read_aliases("alder") == {"champion": "1"}
    manual.hold(fleet.workspace, "alder", "unpin", by=Actor("ada"))
    assert manual.promote(fleet.workspace, "alder", by=Actor("ada")).version == "3"
    assert manual.roll_back(fleet.workspace, "alder", to="2", by=Actor("ada")) == ("3", "2")
    assert manual.roll_back(fleet.workspace, "alder", by=Actor("ada")) == ("2", "1")
    assert fleet.list_moves("alder") == [
        ("ada", "promote", "", "1"),
        ("mlflow", "challenge", "1", "2"),
        ("ada", "pause", "2", "2"),
        ("ada", "resume", "2", "2"),
        ("rollout", "advance", "1", "2"),
        ("ada", "rollback", "2", "1"),
        ("ada", "pin", "1", "1"),
        ("ada", "unpin", "1", "1"),
        ("ada", "promote", "1", "3"),
        ("ada", "rollback", "3", "2"),
        ("ada", "rollback", "2", "1"),
    ]
    assert summarize_cycle(*fleet.run_cycle()) == "no trials"


def test_aliases_moved_in_mlflow_just_before_a_command_are_recorded_first(fleet):
    fleet.register("alder", 2)
    fleet.set_aliases("alder", champion="1")
    fleet.run_cycle()
    fleet.set_aliases("alder", champion="2", challenger="3")
    manual.hold(fleet.workspace, "alder", "pause", by=Actor("ada"))
    manual.hold(fleet.workspace, "alder", "resume", by=Actor("ada"))
    assert "1 waiting" in summarize_cycle(*fleet.run_cycle(0.1))
    assert fleet.read_aliases("alder") == {"champion": "2", "challenger": "3"}
    assert fleet.list_exposures() == {"alder": ("3", 0.1, False)}
    assert fleet.list_moves("alder")[:2] == [("mlflow", "promote", "1", "2"), ("mlflow", "challenge", "2", "3")]


def test_a_rollback_restores_the_champion_before_and_never_one_that_was_rolled_back(fleet):
    fleet.register("alder", 4)
    workspace = fleet.workspace
    manual.promote(workspace, "alder", "3", by=Actor("ada"))
    manual.promote(workspace, "alder", "4", by=Actor("ada"))
    assert manual.roll_back(workspace, "alder", by=Actor("ada")) == ("4", "3")
    manual.promote(workspace, "alder", "5", by=Actor("ada"))
    assert manual.roll_back(workspace, "alder", by=Actor("ada")) == ("5", "3")
    with pytest.raises(RegistryError, match="a champion of alder before version 3"):
        manual.roll_back(workspace, "alder", by=Actor("ada"))
    manual.promote(workspace, "alder", "5", by=Actor("ada"))
    manual.promote(workspace, "alder", "2", by=Actor("ada"))
    fleet.client.delete_model_version("prefix-alder", "5")
    assert manual.roll_back(workspace, "alder", by=Actor("ada")) == ("2", "3")


@pytest.mark.parametrize("move", ["rollback", "promote"])
def test_a_challenger_whose_trial_another_version_ended_is_not_tried_again(fleet, move):
    fleet.register("alder", 2)
    manual.promote(fleet.workspace, "alder", "1", by=Actor("ada"))
    assert fleet.roll_out("alder") == {}
    assert fleet.read_aliases("alder") == {"champion": "1", "challenger": "3"}
    if move == "rollback":
        manual.roll_back(fleet.workspace, "alder", to="2", by=Actor("ada"))
    else:
        manual.promote(fleet.workspace, "alder", "2", by=Actor("ada"))
    assert fleet.roll_out("alder") == {}
    assert fleet.read_aliases("alder") == {"champion": "2"}
    manual.promote(fleet.workspace, "alder", "3", by=Actor("ada"))
    assert "taken_back" not in fleet.client.get_model_version("prefix-alder", "2").tags
