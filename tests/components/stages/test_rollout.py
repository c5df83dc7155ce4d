"""The rollout's cycle over a fleet whose versions are in a real MLflow on sqlite; time is handed in."""

import time

import pytest

from components.errors import RegistryError, WorkspaceError
from components.rollout.ledger import history
from components.rollout.standings import Exposure, exposures
from components.stages import by_hand, register, rollout
from components.stages.rollout import cycle, sentence

CANARY = {
    "policy": "canary",
    "steps": [{"share": 0.1, "hours": 1.0, "min_requests": 20}, {"share": 1.0}],
    "deadline_hours": 24.0,
}
NOW_S = time.time()
MINUTE = int(NOW_S // 60)


def roll(fleet, hours=0.0):
    return cycle(fleet.workspace, now_s=lambda: NOW_S + hours * 3600, settle=lambda seconds: None)


def told(fleet, tenant):
    return [(one.by, one.action, one.from_version, one.to_version) for one in history(fleet.workspace.database, tenant)]


def release(fleet, *tenants):
    """What retraining does with the newest version of each."""
    place = fleet.workspace
    return register.roll_out(place, {tenant: place.registry.versions(tenant)[0] for tenant in tenants}, [])


@pytest.fixture
def fleet(make_fleet):
    made = make_fleet(
        CANARY, {"cedar": {"rollout": {"policy": "immediate"}}, "dale": {"rollout": {"policy": "manual"}}}
    )
    for tenant in ("alder", "birch", "cedar", "dale"):
        made.register(tenant)
    return made


def test_a_version_reaches_its_tenant_step_by_step(fleet):
    assert release(fleet, "alder", "cedar", "dale") == {"alder": "1", "cedar": "1"}  # nothing to lose but by policy
    assert exposures(fleet.workspace.database) == {}
    fleet.register("alder")
    fleet.register("cedar")
    assert release(fleet, "alder", "cedar") == {"cedar": "2"}
    assert fleet.aliases("alder") == {"champion": "1", "challenger": "2"}
    assert exposures(fleet.workspace.database) == {"alder": Exposure("2", 0.1, False)}
    assert release(fleet, "alder") == {}  # retraining again changes nothing

    assert sentence(*roll(fleet)) == "2 waiting"
    fleet.serve("alder", range(MINUTE + 5, MINUTE + 50), {"requests": 20}, {"requests": 2})
    assert sentence(*roll(fleet, 0.9)) == "2 waiting"
    assert sentence(*roll(fleet, 1.1)) == "1 waiting, 1 advanced"
    assert exposures(fleet.workspace.database)["alder"].share == 1.0
    assert sentence(*roll(fleet, 1.2)) == "1 waiting, 1 promoted"
    assert fleet.aliases("alder") == {"champion": "2"}
    assert exposures(fleet.workspace.database) == {}
    assert told(fleet, "alder") == [
        ("retrain", "promote", "", "1"),
        ("retrain", "challenge", "1", "2"),
        ("rollout", "advance", "1", "2"),
        ("rollout", "promote", "1", "2"),
    ]
    assert told(fleet, "dale") == [("retrain", "challenge", "", "1")]
    assert sentence(*roll(fleet, 1.3)) == "1 waiting"


def test_a_worse_version_is_taken_back_within_one_cycle_and_stays_back(fleet):
    fleet.register("alder")
    fleet.move("alder", champion="1")
    release(fleet, "alder")
    fleet.serve("alder", range(MINUTE + 5, MINUTE + 20), {"requests": 90}, {"requests": 10, "errors": 5})
    rolled, troubles = roll(fleet, 0.4)
    assert (sentence(rolled, troubles), rolled[0].why.split(" (")[0]) == (
        "1 rolled back",
        "errors: 75 of 150 against the champion's 0 of 1350",
    )
    assert fleet.aliases("alder") == {"champion": "1"}
    last = history(fleet.workspace.database, "alder")[-1]
    assert last.figures["checks"]["errors"]["evidence_worse"] > last.figures["checks"]["errors"]["needed"]
    assert release(fleet, "alder") == {}
    assert fleet.aliases("alder") == {"champion": "1"}


def test_what_a_person_does_in_mlflow_is_respected_and_recorded(fleet):
    fleet.register("alder", 2)
    release(fleet, "birch")
    fleet.move("alder", champion="1")
    assert sentence(*roll(fleet)) == "nobody on trial"  # adopted, without a line
    fleet.move("alder", challenger="2")
    assert sentence(*roll(fleet)) == "1 moved in MLflow, 1 waiting"
    fleet.move("alder", challenger="3")
    roll(fleet)
    fleet.move("alder", challenger=None)
    roll(fleet)
    fleet.move("alder", challenger="3")
    roll(fleet)
    fleet.move("alder", champion="3")
    roll(fleet)
    assert fleet.aliases("alder") == {"champion": "3"}
    fleet.move("alder", champion=None)
    roll(fleet)
    assert told(fleet, "alder") == [
        ("mlflow", "challenge", "1", "2"),
        ("mlflow", "challenge", "1", "3"),
        ("mlflow", "withdraw", "3", "1"),
        ("mlflow", "challenge", "1", "3"),
        ("mlflow", "promote", "1", "3"),
        ("mlflow", "withdraw", "3", ""),
    ]
    assert sentence(*roll(fleet)) == "nobody on trial"
    assert told(fleet, "birch") == [("retrain", "promote", "", "1")]


def test_versions_deleted_in_mlflow_end_their_trial(fleet):
    fleet.register("alder", 2)
    fleet.move("alder", champion="1", challenger="2")
    roll(fleet)
    fleet.client.delete_model_version("prefix-alder", "2")
    assert sentence(*roll(fleet)) == "1 moved in MLflow"
    fleet.client.delete_registered_model("prefix-alder")
    assert sentence(*roll(fleet)) == "1 moved in MLflow"
    assert sentence(*roll(fleet)) == "nobody on trial"


def test_a_move_under_way_is_not_taken_for_somebody_else_s(fleet):
    fleet.move("birch", champion="1")
    roll(fleet)
    fleet.register("birch")
    place = fleet.workspace
    fleet.move("birch", challenger="2")  # as `challenge` does first
    begun = place.registry.versions("birch")[0]

    def settle(seconds):
        register.challenge(place, begun, register.Standing(tenant="birch", champion="1"), "retrain", "it passed")

    cycle(fleet.workspace, now_s=lambda: NOW_S, settle=settle)
    assert told(fleet, "birch") == [("retrain", "challenge", "1", "2")]


def test_one_tenant_s_trouble_holds_up_nobody(fleet):
    for tenant in ("alder", "birch"):
        fleet.register(tenant)
        fleet.move(tenant, champion="1", challenger="2")
    roll(fleet)
    fleet.serve("birch", range(MINUTE + 5, MINUTE + 50), {"requests": 20}, {"requests": 2})
    place = fleet.workspace
    place.params.tenants["alder"] = {"rollout": {"policy": "nonsense"}}
    rolled, troubles = cycle(place, now_s=lambda: NOW_S + 2 * 3600, settle=lambda seconds: None)
    assert [(one.tenant, one.action) for one in rolled] == [("birch", "advance")]
    assert [one.tenant for one in troubles] == ["alder"]


def test_by_hand(fleet):
    fleet.register("alder", 2)
    release(fleet, "cedar")
    by_hand.promote(fleet.workspace, "alder", "1", by="ada")
    with pytest.raises(RegistryError, match="a trial of alder"):
        by_hand.hold(fleet.workspace, "alder", "pause", by="ada")
    fleet.move("alder", challenger="2")
    roll(fleet)
    fleet.serve("alder", range(MINUTE + 5, MINUTE + 50), {"requests": 20}, {"requests": 2})
    by_hand.hold(fleet.workspace, "alder", "pause", by="ada")
    by_hand.hold(fleet.workspace, "alder", "pause", by="bob")
    assert "1 waiting" in sentence(*roll(fleet, 2.0))
    by_hand.hold(fleet.workspace, "alder", "resume", by="ada")
    assert "1 advanced" in sentence(*roll(fleet, 2.0))
    assert by_hand.rollback(fleet.workspace, "alder", by="ada") == ("2", "1")
    assert fleet.aliases("alder") == {"champion": "1"}

    by_hand.hold(fleet.workspace, "alder", "pin", by="ada")
    for move in (by_hand.promote, by_hand.rollback):
        with pytest.raises(RegistryError, match="pinned by hand"):
            move(fleet.workspace, "alder")
    assert release(fleet, "alder") == {}
    assert fleet.aliases("alder") == {"champion": "1"}
    by_hand.hold(fleet.workspace, "alder", "unpin", by="ada")
    assert by_hand.promote(fleet.workspace, "alder", by="ada").version == "3"
    assert by_hand.rollback(fleet.workspace, "alder", to="2", by="ada") == ("3", "2")
    assert by_hand.rollback(fleet.workspace, "alder", by="ada") == ("2", "1")
    assert told(fleet, "alder") == [
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
    assert sentence(*roll(fleet)) == "nobody on trial"


def test_two_cycles_do_not_run_at_a_time(fleet):
    fleet.move("birch", champion="1", challenger="1")

    def settle(seconds):
        with pytest.raises(WorkspaceError, match="another run"):
            roll(fleet)

    fleet.register("birch")
    fleet.move("birch", challenger="2")
    cycle(fleet.workspace, settle=settle)


def test_a_cycle_asks_mlflow_once_for_the_whole_fleet(fleet):
    for tenant in ("alder", "birch", "cedar", "dale"):
        fleet.register(tenant)
        fleet.move(tenant, champion="1", challenger="2")
    roll(fleet)

    class Counted:
        def __init__(self, registry):
            self.registry, self.asked = registry, []

        def __getattr__(self, name):
            self.asked.append(name)
            return getattr(self.registry, name)

    place = fleet.workspace
    place.registry = Counted(fleet.workspace.registry)
    rolled, _ = cycle(place, now_s=lambda: NOW_S)
    assert [one.action for one in rolled] == ["wait"] * 4
    assert place.registry.asked == ["standing"]


def test_a_shadow_compares_both_outputs(make_fleet):
    fleet = make_fleet({"policy": "shadow", "shadow": {"hours": 1.0, "min_requests": 20}})
    fleet.register("alder", 2)
    fleet.move("alder", champion="1", challenger="2")
    roll(fleet)
    assert exposures(fleet.workspace.database)["alder"] == Exposure("2", 1.0, True)
    fleet.serve("alder", range(MINUTE + 5, MINUTE + 50), {"requests": 2}, {"requests": 2, "agreed": 1})
    assert sentence(*roll(fleet, 1.1)) == "1 promoted"
    figures = history(fleet.workspace.database, "alder")[-1].figures
    assert (figures["agreed"], figures["shadowed"]) == (45, 90)
    assert "latency" not in figures["checks"]


def test_a_challenger_that_is_moved_during_the_look_is_left_to_the_next_cycle(fleet):
    fleet.register("alder", 2)
    fleet.move("alder", champion="1", challenger="2")
    roll(fleet)
    fleet.serve("alder", range(MINUTE + 5, MINUTE + 20), {"requests": 90}, {"requests": 10, "errors": 5})
    fleet.move("birch", challenger="1")  # gives the cycle something odd to look at twice

    class Late:
        """A database in whose first answer somebody moves the alias."""

        def __init__(self, place):
            self.place, self.asked = place.registry, 0

        def __getattr__(self, name):
            return getattr(self.place, name)

        def standing(self, *aliases):
            found = self.place.standing(*aliases)
            self.asked += 1
            if self.asked == 2:
                fleet.move("alder", challenger="3")
            return found

    place = fleet.workspace
    place.registry = Late(fleet.workspace)
    rolled, _ = cycle(place, now_s=lambda: NOW_S + 1500, settle=lambda seconds: None)
    assert [(one.tenant, one.action) for one in rolled if one.tenant == "alder"] == [("alder", "wait")]
    assert fleet.aliases("alder") == {"champion": "1", "challenger": "3"}


def test_what_a_person_did_in_mlflow_just_before_a_command_is_not_lost(fleet):
    fleet.register("alder", 2)
    fleet.move("alder", champion="1")
    roll(fleet)
    fleet.move("alder", champion="2", challenger="3")
    by_hand.hold(fleet.workspace, "alder", "pause", by="ada")
    by_hand.hold(fleet.workspace, "alder", "resume", by="ada")
    assert "1 waiting" in sentence(*roll(fleet, 0.1))
    assert fleet.aliases("alder") == {"champion": "2", "challenger": "3"}
    assert exposures(fleet.workspace.database) == {"alder": Exposure("3", 0.1, False)}
    assert told(fleet, "alder")[:2] == [("mlflow", "promote", "1", "2"), ("mlflow", "challenge", "2", "3")]


@pytest.mark.parametrize("action", ["pause", "pin"])
def test_what_a_person_holds_during_a_cycle_stays_held(fleet, action, monkeypatch):
    fleet.register("alder")
    fleet.move("alder", champion="1", challenger="2")
    roll(fleet)
    fleet.serve("alder", range(MINUTE + 5, MINUTE + 50), {"requests": 20}, {"requests": 2})
    found = rollout.observed

    def meanwhile(*asked):
        by_hand.hold(fleet.workspace, "alder", action, by="ada")
        return found(*asked)

    monkeypatch.setattr(rollout, "observed", meanwhile)
    assert sentence(*roll(fleet, 2.0)) == "1 waiting"
    monkeypatch.undo()
    assert sentence(*roll(fleet, 2.1)) == "1 waiting"
    assert told(fleet, "alder")[-1][:2] == ("ada", action)


def test_a_champion_that_a_person_moves_during_a_cycle_stays(fleet, monkeypatch):
    fleet.register("alder", 2)
    fleet.move("alder", champion="1", challenger="2")
    roll(fleet)
    fleet.serve("alder", range(MINUTE + 5, MINUTE + 50), {"requests": 90}, {"requests": 10})
    roll(fleet, 1.1)
    found = rollout.observed

    def meanwhile(*asked):
        fleet.move("alder", champion="3")
        return found(*asked)

    monkeypatch.setattr(rollout, "observed", meanwhile)
    assert sentence(*roll(fleet, 1.2)) == "1 waiting"
    assert fleet.aliases("alder") == {"champion": "3", "challenger": "2"}
