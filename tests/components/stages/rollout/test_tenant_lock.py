"""Who moves a tenant meanwhile, in MLflow's page or beside us, who was killed half way: nothing is lost."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from components.rollout.store.removal import list_remaining_rows, remove_rows
from components.stages import register
from components.stages.rollout import manual, trial_reviews
from components.stages.rollout.cycle import run_cycle, summarize_cycle
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.rollout.transitions import start_trial


def test_what_a_person_does_in_mlflow_is_respected_and_recorded(fleet):
    fleet.register("alder", 2)
    fleet.release("birch")
    fleet.move("alder", champion="1")
    assert summarize_cycle(*fleet.roll()) == "no trials"  # adopted, without a line
    fleet.move("alder", challenger="2")
    assert summarize_cycle(*fleet.roll()) == "1 moved in MLflow, 1 waiting"
    fleet.move("alder", challenger="3")
    fleet.roll()
    fleet.move("alder", challenger=None)
    fleet.roll()
    fleet.move("alder", challenger="3")
    fleet.roll()
    fleet.move("alder", champion="3")
    fleet.roll()
    assert fleet.aliases("alder") == {"champion": "3"}
    fleet.move("alder", champion=None)
    fleet.roll()
    assert fleet.told("alder") == [
        ("mlflow", "challenge", "1", "2"),
        ("mlflow", "challenge", "1", "3"),
        ("mlflow", "withdraw", "3", "1"),
        ("mlflow", "challenge", "1", "3"),
        ("mlflow", "promote", "1", "3"),
        ("mlflow", "withdraw", "3", ""),
    ]
    assert summarize_cycle(*fleet.roll()) == "no trials"
    assert fleet.told("birch") == [("retrain", "promote", "", "1")]


def test_versions_deleted_in_mlflow_end_their_trial(fleet):
    fleet.register("alder", 2)
    fleet.move("alder", champion="1", challenger="2")
    fleet.roll()
    fleet.client.delete_model_version("prefix-alder", "2")
    assert summarize_cycle(*fleet.roll()) == "1 moved in MLflow"
    fleet.client.delete_registered_model("prefix-alder")
    assert summarize_cycle(*fleet.roll()) == "1 moved in MLflow"
    assert summarize_cycle(*fleet.roll()) == "no trials"


def test_a_move_under_way_is_not_taken_for_somebody_else_s(fleet):
    fleet.move("birch", champion="1")
    fleet.roll()
    fleet.register("birch")
    with ThreadPoolExecutor(1) as beside, lock_tenant(fleet.workspace, "birch") as now:
        fleet.move("birch", challenger="2")  # as `start_trial` does first
        cycle = beside.submit(fleet.roll)
        time.sleep(0.5)
        assert not cycle.done()
        start_trial(now, "2", "retrain", "it passed")
    assert summarize_cycle(*cycle.result()) == "1 waiting"
    assert fleet.told("birch") == [("retrain", "challenge", "1", "2")]


def test_a_challenger_that_is_moved_during_the_look_is_left_to_the_next_cycle(fleet):
    fleet.register("alder", 2)
    fleet.move("alder", champion="1", challenger="2")
    fleet.roll()
    fleet.serve("alder", range(fleet.minute + 5, fleet.minute + 20), {"requests": 90}, {"requests": 10, "errors": 5})

    class Late:
        """A database in whose first answer somebody moves the alias."""

        def __init__(self, place):
            self.place = place.registry

        def __getattr__(self, name):
            return getattr(self.place, name)

        def poll_aliased(self, *aliases):
            found = self.place.poll_aliased(*aliases)
            fleet.move("alder", challenger="3")
            return found

    place = fleet.workspace
    place.registry = Late(fleet.workspace)
    rolled, _ = run_cycle(place, now_s=lambda: fleet.now_s + 1500)
    assert [(one.tenant, one.action) for one in rolled if one.tenant == "alder"] == [("alder", "wait")]
    assert fleet.aliases("alder") == {"champion": "1", "challenger": "3"}


@pytest.mark.parametrize("action", ["pause", "pin"])
def test_what_a_person_holds_during_a_cycle_stays_held(fleet, action, monkeypatch):
    fleet.register("alder")
    fleet.move("alder", champion="1", challenger="2")
    fleet.roll()
    fleet.serve("alder", range(fleet.minute + 5, fleet.minute + 50), {"requests": 20}, {"requests": 2})
    found = trial_reviews.review_trials

    def meanwhile(*asked):
        manual.hold(fleet.workspace, "alder", action, by="ada")
        return found(*asked)

    monkeypatch.setattr(trial_reviews, "review_trials", meanwhile)
    assert summarize_cycle(*fleet.roll(2.0)) == "1 waiting"
    monkeypatch.undo()
    assert summarize_cycle(*fleet.roll(2.1)) == "1 waiting"
    assert fleet.told("alder")[-1][:2] == ("ada", action)


def test_a_champion_that_a_person_moves_during_a_cycle_stays(fleet, monkeypatch):
    fleet.register("alder", 2)
    fleet.move("alder", champion="1", challenger="2")
    fleet.roll()
    fleet.serve("alder", range(fleet.minute + 5, fleet.minute + 50), {"requests": 90}, {"requests": 10})
    fleet.roll(1.1)
    found = trial_reviews.review_trials

    def meanwhile(*asked):
        fleet.move("alder", champion="3")
        return found(*asked)

    monkeypatch.setattr(trial_reviews, "review_trials", meanwhile)
    assert summarize_cycle(*fleet.roll(1.2)) == "1 waiting"
    assert fleet.aliases("alder") == {"champion": "3", "challenger": "2"}


def test_a_pin_before_a_tenant_s_turn_wins_and_one_during_it_holds_what_came_of_it(make_fleet):
    fleet = make_fleet({"policy": "immediate"})
    for tenant in ("alder", "birch"):
        fleet.register(tenant, 2)
        fleet.move(tenant, champion="1")
    fleet.roll()
    place = fleet.workspace
    versions = {tenant: place.registry.find_versions(tenant)[0] for tenant in ("alder", "birch")}
    pins = []

    class Pinned:
        """A registry beside whose first move somebody pins both tenants."""

        def __init__(self, registry):
            self.registry = registry

        def __getattr__(self, name):
            return getattr(self.registry, name)

        def set_alias(self, tenant, alias, number):
            self.registry.set_alias(tenant, alias, number)
            if not pins:
                pins.extend(
                    beside.submit(manual.hold, fleet.workspace, one, "pin", "ada") for one in ("birch", "alder")
                )
                time.sleep(0.3)

    place.registry = Pinned(place.registry)
    with ThreadPoolExecutor(1) as beside:
        first = register.roll_out(place, {"alder": versions["alder"]}, [])
    assert first == ({"alder": "2"}, [])
    assert [pin.result().champion for pin in pins] == ["1", "2"]
    assert register.roll_out(place, versions, []) == ({"alder": "2"}, [])
    assert fleet.aliases("birch") == {"champion": "1"}
    assert fleet.told("alder") == [("retrain", "promote", "1", "2"), ("ada", "pin", "2", "2")]


def test_a_tenant_that_is_forgotten_before_its_new_version_s_turn_does_not_come_back(fleet):
    fleet.release("birch")
    place = fleet.workspace
    fleet.register("birch")
    version = place.registry.find_versions("birch")[0]
    place.registry.remove("birch")
    remove_rows(place.database, "birch")
    promoted, troubles = register.roll_out(place, {"birch": version}, [])
    assert (promoted, [one.tenant for one in troubles]) == ({}, ["birch"])
    assert list_remaining_rows(place.database, "birch") == []
