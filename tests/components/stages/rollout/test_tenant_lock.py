"""Moves of a tenant at the same time, in MLflow or by other processes: none is lost, and none is undone."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import wait_until

from components.rollout.store.removal import list_remaining_rows, remove_rows
from components.stages import register
from components.stages.rollout import manual, trial_reviews
from components.stages.rollout.actors import Actor
from components.stages.rollout.cycle import run_cycle, summarize_cycle
from components.stages.rollout.tenant_lock import lock_tenant
from components.stages.rollout.transitions import start_trial


def test_aliases_moved_in_mlflow_are_kept_and_recorded(fleet):
    fleet.register("alder", 2)
    fleet.roll_out("birch")
    fleet.set_aliases("alder", champion="1")
    assert summarize_cycle(*fleet.run_cycle()) == "no trials"  # taken as it is, without a ledger entry
    fleet.set_aliases("alder", challenger="2")
    assert summarize_cycle(*fleet.run_cycle()) == "1 moved in MLflow, 1 waiting"
    fleet.set_aliases("alder", challenger="3")
    fleet.run_cycle()
    fleet.set_aliases("alder", challenger=None)
    fleet.run_cycle()
    fleet.set_aliases("alder", challenger="3")
    fleet.run_cycle()
    fleet.set_aliases("alder", champion="3")
    fleet.run_cycle()
    assert fleet.read_aliases("alder") == {"champion": "3"}
    fleet.set_aliases("alder", champion=None)
    fleet.run_cycle()
    assert fleet.list_moves("alder") == [
        ("mlflow", "challenge", "1", "2"),
        ("mlflow", "challenge", "1", "3"),
        ("mlflow", "withdraw", "3", "1"),
        ("mlflow", "challenge", "1", "3"),
        ("mlflow", "promote", "1", "3"),
        ("mlflow", "withdraw", "3", ""),
    ]
    assert summarize_cycle(*fleet.run_cycle()) == "no trials"
    assert fleet.list_moves("birch") == [("retrain", "promote", "", "1")]


def test_a_version_deleted_in_mlflow_ends_its_trial(fleet):
    fleet.register("alder", 2)
    fleet.set_aliases("alder", champion="1", challenger="2")
    fleet.run_cycle()
    fleet.client.delete_model_version("prefix-alder", "2")
    assert summarize_cycle(*fleet.run_cycle()) == "1 moved in MLflow"
    fleet.client.delete_registered_model("prefix-alder")
    assert summarize_cycle(*fleet.run_cycle()) == "1 moved in MLflow"
    assert summarize_cycle(*fleet.run_cycle()) == "no trials"


def test_a_cycle_waits_for_a_move_and_does_not_record_it_as_mlflow_s(fleet):
    fleet.set_aliases("birch", champion="1")
    fleet.run_cycle()
    fleet.register("birch")
    with ThreadPoolExecutor(1) as other_process, lock_tenant(fleet.workspace, "birch") as lease:
        fleet.set_aliases("birch", challenger="2")  # as `start_trial` does first
        cycle = other_process.submit(fleet.run_cycle)
        time.sleep(0.3)
        assert not cycle.done()
        start_trial(lease, "2", Actor("retrain"), "it passed the gate")
    assert summarize_cycle(*cycle.result()) == "1 waiting"
    assert fleet.list_moves("birch") == [("retrain", "challenge", "1", "2")]


def test_a_challenger_that_is_moved_during_a_cycle_is_left_to_the_next_cycle(fleet):
    fleet.register("alder", 2)
    fleet.set_aliases("alder", champion="1", challenger="2")
    fleet.run_cycle()
    fleet.add_observations("alder", 20, {"requests": 90}, {"requests": 10, "errors": 5})

    class MovingRegistry:
        """A registry in which the alias is moved right after it was read."""

        def __init__(self, registry):
            self.registry = registry

        def __getattr__(self, name):
            return getattr(self.registry, name)

        def poll_aliased(self, *aliases):
            versions = self.registry.poll_aliased(*aliases)
            fleet.set_aliases("alder", challenger="3")
            return versions

    workspace = fleet.workspace
    workspace.registry = MovingRegistry(fleet.workspace.registry)
    results, _ = run_cycle(workspace, now_s=lambda: fleet.now_s + 1500)
    assert [(one.tenant, one.action) for one in results if one.tenant == "alder"] == [("alder", "wait")]
    assert fleet.read_aliases("alder") == {"champion": "1", "challenger": "3"}


@pytest.mark.parametrize("action", ["pause", "pin"])
def test_a_pause_or_a_pin_during_a_cycle_takes_effect(fleet, action, monkeypatch):
    fleet.register("alder")
    fleet.set_aliases("alder", champion="1", challenger="2")
    fleet.run_cycle()
    fleet.add_observations("alder", 50, {"requests": 20}, {"requests": 2})
    review = trial_reviews.review_trials

    def review_late(*arguments):
        manual.hold(fleet.workspace, "alder", action, by=Actor("ada"))
        return review(*arguments)

    monkeypatch.setattr(trial_reviews, "review_trials", review_late)
    assert summarize_cycle(*fleet.run_cycle(2.0)) == "1 waiting"
    monkeypatch.undo()
    assert summarize_cycle(*fleet.run_cycle(2.1)) == "1 waiting"
    assert fleet.list_moves("alder")[-1][:2] == ("ada", action)


def test_a_champion_moved_in_mlflow_during_a_cycle_stays(fleet, monkeypatch):
    fleet.register("alder", 2)
    fleet.set_aliases("alder", champion="1", challenger="2")
    fleet.run_cycle()
    fleet.add_observations("alder", 50, {"requests": 90}, {"requests": 10})
    fleet.run_cycle(1.1)
    review = trial_reviews.review_trials

    def review_late(*arguments):
        fleet.set_aliases("alder", champion="3")
        return review(*arguments)

    monkeypatch.setattr(trial_reviews, "review_trials", review_late)
    assert summarize_cycle(*fleet.run_cycle(1.2)) == "1 waiting"
    assert fleet.read_aliases("alder") == {"champion": "3", "challenger": "2"}


def test_a_pin_before_a_tenant_is_locked_wins_and_one_while_it_is_locked_pins_the_result(make_fleet):
    fleet = make_fleet({"policy": "immediate"})
    for tenant in ("alder", "birch"):
        fleet.register(tenant, 2)
        fleet.set_aliases(tenant, champion="1")
    fleet.run_cycle()
    workspace = fleet.workspace
    versions = {tenant: workspace.registry.find_versions(tenant)[0] for tenant in ("alder", "birch")}
    pins = []

    class PinningRegistry:
        """A registry during whose first move another process pins both tenants."""

        def __init__(self, registry):
            self.registry = registry

        def __getattr__(self, name):
            return getattr(self.registry, name)

        def set_alias(self, tenant, alias, number):
            self.registry.set_alias(tenant, alias, number)
            if not pins:
                pins.extend(
                    other_process.submit(manual.hold, fleet.workspace, one, "pin", Actor("ada"))
                    for one in ("birch", "alder")
                )
                time.sleep(0.3)

    workspace.registry = PinningRegistry(workspace.registry)
    with ThreadPoolExecutor(1) as other_process:
        first = register.roll_out(workspace, {"alder": versions["alder"]}, [])
    assert first == ({"alder": "2"}, [])
    assert [pin.result().champion for pin in pins] == ["1", "2"]
    assert register.roll_out(workspace, versions, []) == ({"alder": "2"}, [])
    assert fleet.read_aliases("birch") == {"champion": "1"}
    assert fleet.list_moves("alder") == [("retrain", "promote", "1", "2"), ("ada", "pin", "2", "2")]


def test_a_tenant_that_was_forgotten_before_its_new_version_is_rolled_out_leaves_no_rows(fleet):
    fleet.roll_out("birch")
    workspace = fleet.workspace
    fleet.register("birch")
    version = workspace.registry.find_versions("birch")[0]
    workspace.registry.remove("birch")
    remove_rows(workspace.database, "birch")
    promoted, failures = register.roll_out(workspace, {"birch": version}, [])
    assert (promoted, [one.tenant for one in failures]) == ({}, ["birch"])
    assert list_remaining_rows(workspace.database, "birch") == []


MOVE = """
from pathlib import Path
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store  # once, not in each fork
from components.stages.rollout import manual
from components.stages.rollout.actors import Actor
from components.stages.workspace import Workspace

def run(root, tenant, move):
    workspace = Workspace(Path(root))
    if move == "promote":
        manual.promote(workspace, tenant, "2", by=Actor(move))
    elif move == "rollback":
        manual.roll_back(workspace, tenant, to="1", by=Actor(move))
    else:
        manual.hold(workspace, tenant, move, by=Actor(move))
"""


@pytest.mark.slow
def test_moves_of_a_tenant_by_ten_processes_at_once_wait_for_each_other(fleet, start_forks):
    fleet.register("alder", 1)
    manual.promote(fleet.workspace, "alder", "1", by=Actor("ada"))
    fork = start_forks(MOVE)
    moves = ["promote", "rollback", "unpin", "promote", "rollback", "unpin", "promote", "rollback", "promote", "unpin"]
    waits = []
    with lock_tenant(fleet.workspace, "alder"):
        waits = [fork(str(fleet.root), "alder", move) for move in moves]
        assert fork(str(fleet.root), "birch", "promote")() != 0, "birch has no version 2, and does not wait for alder"
    assert [wait() for wait in waits] == [0] * len(moves)
    made = [by for by, *_ in fleet.list_moves("alder")[1:]]
    assert sorted(made) == ["promote"] * 4 + ["rollback"] * 3


def test_a_command_says_that_it_waits_for_another_move(fleet, caplog):
    manual.promote(fleet.workspace, "alder", "1", by=Actor("ada"))
    with ThreadPoolExecutor(1) as other_process, caplog.at_level("INFO"):
        with lock_tenant(fleet.workspace, "alder"):
            pinning = other_process.submit(manual.hold, fleet.workspace, "alder", "pin", Actor("bob"))
            wait_until(lambda: "alder: waiting for another move of its versions" in caplog.text, "the line")
        assert pinning.result().pinned
