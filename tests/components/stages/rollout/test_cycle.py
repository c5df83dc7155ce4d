"""The rollout's cycle over a fleet whose versions are in a real MLflow on sqlite; time is handed in."""

import pytest

from components.errors import WorkspaceError
from components.rollout.store.ledger import read_history
from components.rollout.store.rollback_outbox import take_rollbacks
from components.rollout.store.tenant_state import read_exposures
from components.stages import register
from components.stages.rollout.cycle import hold_cycle_lock, run_cycle, summarize_cycle


def test_a_version_reaches_its_tenant_step_by_step(fleet):
    assert fleet.release("alder", "cedar", "dale") == {"alder": "1", "cedar": "1"}  # nothing to lose but by policy
    assert read_exposures(fleet.workspace.database) == {}
    fleet.register("alder")
    fleet.register("cedar")
    assert fleet.release("alder", "cedar") == {"cedar": "2"}
    assert fleet.aliases("alder") == {"champion": "1", "challenger": "2"}
    assert fleet.exposed() == {"alder": ("2", 0.1, False)}
    assert fleet.release("alder") == {}  # retraining again changes nothing

    assert summarize_cycle(*fleet.roll()) == "2 waiting"
    fleet.serve("alder", range(fleet.minute + 5, fleet.minute + 50), {"requests": 20}, {"requests": 2})
    assert summarize_cycle(*fleet.roll(0.9)) == "2 waiting"
    assert summarize_cycle(*fleet.roll(1.1)) == "1 waiting, 1 advanced"
    assert read_exposures(fleet.workspace.database)["alder"].share == 1.0
    assert summarize_cycle(*fleet.roll(1.2)) == "1 waiting, 1 promoted"
    assert fleet.aliases("alder") == {"champion": "2"}
    assert read_exposures(fleet.workspace.database) == {}
    assert fleet.told("alder") == [
        ("retrain", "promote", "", "1"),
        ("retrain", "challenge", "1", "2"),
        ("rollout", "advance", "1", "2"),
        ("rollout", "promote", "1", "2"),
    ]
    assert fleet.told("dale") == [("retrain", "challenge", "", "1")]
    assert summarize_cycle(*fleet.roll(1.3)) == "1 waiting"


def test_a_worse_version_is_taken_back_within_one_cycle_and_stays_back(fleet):
    fleet.register("alder")
    fleet.move("alder", champion="1")
    fleet.release("alder")
    fleet.serve("alder", range(fleet.minute + 5, fleet.minute + 20), {"requests": 90}, {"requests": 10, "errors": 5})
    rolled, troubles = fleet.roll(0.4)
    assert (summarize_cycle(rolled, troubles), rolled[0].why.split(" (")[0]) == (
        "1 rolled back",
        "errors: challenger 75 bad of 150, champion 0 bad of 1350",
    )
    assert fleet.aliases("alder") == {"champion": "1"}
    last = read_history(fleet.workspace.database, "alder")[-1]
    assert last.figures["checks"]["errors"]["evidence_worse"] > last.figures["checks"]["errors"]["needed"]
    assert fleet.release("alder") == {}
    assert fleet.aliases("alder") == {"champion": "1"}


def test_one_tenant_s_trouble_holds_up_nobody(fleet):
    for tenant in ("alder", "birch"):
        fleet.register(tenant)
        fleet.move(tenant, champion="1", challenger="2")
    fleet.roll()
    fleet.serve("birch", range(fleet.minute + 5, fleet.minute + 50), {"requests": 20}, {"requests": 2})
    place = fleet.workspace
    place.params.tenants["alder"] = {"rollout": {"policy": "nonsense"}}
    rolled, troubles = run_cycle(place, now_s=lambda: fleet.now_s + 2 * 3600)
    assert [(one.tenant, one.action) for one in rolled] == [("birch", "advance")]
    assert [one.tenant for one in troubles] == ["alder"]


def test_new_versions_reach_the_others_where_one_tenant_is_in_trouble(fleet):
    place = fleet.workspace
    newest = {tenant: place.registry.find_versions(tenant)[0] for tenant in ("alder", "cedar")}
    place.params.tenants["alder"] = {"rollout": {"policy": "nonsense"}}
    promoted, troubles = register.roll_out(place, newest, [])
    assert promoted == {"cedar": "1"}
    assert [(one.tenant, one.stage, one.state) for one in troubles] == [("alder", "roll out", "failed")]


def test_two_cycles_do_not_run_at_a_time(fleet):
    with hold_cycle_lock(fleet.workspace), pytest.raises(WorkspaceError, match="another run"):
        fleet.roll()


def test_a_cycle_asks_mlflow_once_for_the_whole_fleet(fleet):
    for tenant in ("alder", "birch", "cedar", "dale"):
        fleet.register(tenant)
        fleet.move(tenant, champion="1", challenger="2")
    fleet.roll()

    class Counted:
        def __init__(self, registry):
            self.registry, self.asked = registry, []

        def __getattr__(self, name):
            self.asked.append(name)
            return getattr(self.registry, name)

    place = fleet.workspace
    place.registry = Counted(fleet.workspace.registry)
    rolled, _ = run_cycle(place, now_s=lambda: fleet.now_s)
    assert [one.action for one in rolled] == ["wait"] * 4
    assert place.registry.asked == ["poll_aliased"]


def test_a_shadow_compares_both_outputs(make_fleet):
    fleet = make_fleet({"policy": "shadow", "shadow": {"hours": 1.0, "min_requests": 20}})
    fleet.register("alder", 2)
    fleet.move("alder", champion="1", challenger="2")
    fleet.roll()
    assert fleet.exposed() == {"alder": ("2", 1.0, True)}
    fleet.serve("alder", range(fleet.minute + 5, fleet.minute + 50), {"requests": 2}, {"requests": 2, "agreed": 1})
    assert summarize_cycle(*fleet.roll(1.1)) == "1 promoted"
    figures = read_history(fleet.workspace.database, "alder")[-1].figures
    assert (figures["agreed"], figures["shadowed"]) == (45, 90)
    assert "latency" not in figures["checks"]


def test_a_rollback_is_told_though_its_cycle_fails_later(fleet, monkeypatch):
    fleet.register("alder")
    fleet.move("alder", champion="1", challenger="2")
    fleet.roll()
    fleet.serve("alder", range(fleet.minute + 5, fleet.minute + 20), {"requests": 90}, {"requests": 10, "errors": 5})

    def fail(*_):
        raise WorkspaceError("to remove", "database is locked", "wait")

    monkeypatch.setattr("components.stages.rollout.cycle.delete_observations_before", fail)
    with pytest.raises(WorkspaceError, match="is locked"):
        fleet.roll(0.4)
    assert fleet.told("alder")[-1] == ("rollout", "rollback", "2", "1")
    with pytest.raises(WorkspaceError), take_rollbacks(fleet.workspace.database):
        fail()
    with take_rollbacks(fleet.workspace.database) as found:
        assert [(one.tenant, one.from_version) for one in found] == [("alder", "2")]
    with take_rollbacks(fleet.workspace.database) as found:
        assert found == []
