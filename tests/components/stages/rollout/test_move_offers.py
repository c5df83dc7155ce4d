"""Moves that a person is offered: their sentences, their obstacles, and that they do what the commands do."""

import pytest

from components.errors import MoveRefusedError, RegistryError
from components.rollout.store.tenant_state import read_state
from components.stages.rollout.actors import Actor
from components.stages.rollout.move_offers import describe_situation, find_offer, list_offers, make_offered_move


def read(fleet, tenant="alder"):
    return read_state(fleet.workspace.database, tenant)


def offer(fleet, tenant="alder"):
    return {one.move: one for one in list_offers(fleet.workspace, read(fleet, tenant))}


def make(fleet, move, by="Ada"):
    state = read(fleet)
    return make_offered_move(fleet.workspace, state, move, describe_situation(state), Actor(by))


@pytest.fixture
def on_trial(fleet):
    """Version 2 of alder is on trial against version 1."""
    fleet.roll_out("alder")
    fleet.register("alder")
    fleet.roll_out("alder")
    return fleet


def test_a_trial_is_moved_as_offered_and_the_ledger_has_the_name(on_trial):
    offers = offer(on_trial)
    assert list(offers) == ["promote", "rollback", "pause", "pin"]
    assert offers["promote"].sentence == (
        "Version 2 becomes champion in place of version 1 at once: it answers every request, and its trial ends."
    )
    assert offers["rollback"].sentence.startswith("The trial of version 2 ends at once: version 1 answers")
    assert "keeps answering 10% of the requests" in offers["pause"].sentence
    assert make(on_trial, "pause") == "The trial is paused."
    assert "goes on at 10%" in offer(on_trial)["resume"].sentence
    assert make(on_trial, "resume") == "The trial is resumed."
    assert make(on_trial, "promote", "Bob") == "Version 2 is champion."
    offers = offer(on_trial)
    assert "a version of alder to promote" in offers["promote"].obstacle
    assert "a trial of alder to pause" in offers["pause"].obstacle
    assert offers["rollback"].sentence.startswith("Version 1, the champion before, becomes champion again")
    assert make(on_trial, "rollback") == "Version 2 was rolled back; version 1 is champion."
    assert make(on_trial, "pin") == "Version 1 is pinned."
    offers = offer(on_trial)
    assert "is pinned" in offers["promote"].obstacle
    assert "is pinned" in offers["rollback"].obstacle
    assert make(on_trial, "unpin") == "Version 1 is no longer pinned."
    assert on_trial.list_moves("alder")[-6:] == [
        ("Ada", "pause", "2", "2"),
        ("Ada", "resume", "2", "2"),
        ("Bob", "promote", "1", "2"),
        ("Ada", "rollback", "2", "1"),
        ("Ada", "pin", "1", "1"),
        ("Ada", "unpin", "1", "1"),
    ]


def test_a_trial_is_rolled_back_as_offered(on_trial):
    assert make(on_trial, "rollback") == "Version 2 was rolled back; version 1 is champion."
    assert on_trial.read_aliases("alder") == {"champion": "1"}


def test_nothing_is_moved_if_the_situation_changed_or_the_move_is_impossible(on_trial):
    before = describe_situation(read(on_trial))
    make(on_trial, "promote")
    state = read(on_trial)
    with pytest.raises(RegistryError, match="moved meanwhile"):
        make_offered_move(on_trial.workspace, state, "rollback", before, "Ada")
    for move in ("promote", "pause", "resume"):
        with pytest.raises(MoveRefusedError, match="can be made now"):
            make(on_trial, move)
        with pytest.raises(MoveRefusedError, match="can be made now"):
            find_offer(on_trial.workspace, read(on_trial), move)
    assert find_offer(on_trial.workspace, read(on_trial), "rollback").version == "1"
    assert on_trial.read_aliases("alder") == {"champion": "2"}


def test_a_tenant_without_a_champion_can_only_be_promoted(fleet):
    offers = offer(fleet, "dale")
    assert offers["promote"].sentence == "Version 1 becomes champion at once: it answers every request."
    assert all(offers[move].obstacle for move in ("rollback", "pause", "pin"))
