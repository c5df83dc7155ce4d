"""Cycles over tenants whose versions are in a real MLflow on SQLite; the time is an argument."""

import pytest
from observations import read_observations

from components.errors import WorkspaceError
from components.rollout.store.event_outbox import take_events
from components.rollout.store.feedback import Feedback, save_feedback
from components.rollout.store.ledger import read_history
from components.rollout.store.observations import write_counts
from components.rollout.store.tenant_state import read_exposures
from components.rollout.types import Observation
from components.stages import register
from components.stages.rollout import manual
from components.stages.rollout.cycle import hold_cycle_lock, run_cycle, run_idle_cycle, summarize_cycle


def test_a_canary_reaches_its_tenant_step_by_step(fleet):
    assert fleet.roll_out("alder", "cedar", "dale") == {"alder": "1", "cedar": "1"}  # dale's policy is manual
    assert read_exposures(fleet.workspace.database) == {}
    fleet.register("alder")
    fleet.register("cedar")
    assert fleet.roll_out("alder", "cedar") == {"cedar": "2"}
    assert fleet.read_aliases("alder") == {"champion": "1", "challenger": "2"}
    assert fleet.list_exposures() == {"alder": ("2", 0.1, False)}
    assert fleet.roll_out("alder") == {}  # retraining again changes nothing

    assert summarize_cycle(*fleet.run_cycle()) == "2 waiting"
    fleet.add_observations("alder", 50, {"requests": 20}, {"requests": 2})
    assert summarize_cycle(*fleet.run_cycle(0.9)) == "2 waiting"
    assert summarize_cycle(*fleet.run_cycle(1.1)) == "1 waiting, 1 advanced"
    assert read_exposures(fleet.workspace.database)["alder"].share == 1.0
    assert summarize_cycle(*fleet.run_cycle(1.2)) == "1 waiting, 1 promoted"
    assert fleet.read_aliases("alder") == {"champion": "2"}
    assert read_exposures(fleet.workspace.database) == {}
    assert fleet.list_moves("alder") == [
        ("retrain", "promote", "", "1"),
        ("retrain", "challenge", "1", "2"),
        ("rollout", "advance", "1", "2"),
        ("rollout", "promote", "1", "2"),
    ]
    assert fleet.list_moves("dale") == [("retrain", "challenge", "", "1")]
    assert summarize_cycle(*fleet.run_cycle(1.3)) == "1 waiting"


def test_a_worse_version_is_rolled_back_in_one_cycle_and_not_tried_again(fleet):
    fleet.register("alder")
    fleet.set_aliases("alder", champion="1")
    fleet.roll_out("alder")
    fleet.add_observations("alder", 20, {"requests": 90}, {"requests": 10, "errors": 5})
    results, failures = fleet.run_cycle(0.4)
    assert (summarize_cycle(results, failures), results[0].why.split(" (")[0]) == (
        "1 rolled back",
        "errors: challenger 75 bad of 150, champion 0 bad of 1350",
    )
    assert fleet.read_aliases("alder") == {"champion": "1"}
    last = read_history(fleet.workspace.database, "alder")[-1]
    assert last.figures["checks"]["errors"]["evidence_worse"] > last.figures["checks"]["errors"]["needed"]
    assert fleet.roll_out("alder") == {}
    assert fleet.read_aliases("alder") == {"champion": "1"}


def test_a_failure_of_one_tenant_does_not_stop_the_others(fleet):
    for tenant in ("alder", "birch"):
        fleet.register(tenant)
        fleet.set_aliases(tenant, champion="1", challenger="2")
    fleet.run_cycle()
    fleet.add_observations("birch", 50, {"requests": 20}, {"requests": 2})
    workspace = fleet.workspace
    workspace.params.tenants["alder"] = {"rollout": {"policy": "nonsense"}}
    results, failures = run_cycle(workspace, now_s=lambda: fleet.now_s + 2 * 3600)
    assert [(one.tenant, one.action) for one in results] == [("birch", "advance")]
    assert [one.tenant for one in failures] == ["alder"]


def test_new_versions_are_rolled_out_although_one_tenant_fails(fleet):
    workspace = fleet.workspace
    newest = {tenant: workspace.registry.find_versions(tenant)[0] for tenant in ("alder", "cedar")}
    workspace.params.tenants["alder"] = {"rollout": {"policy": "nonsense"}}
    promoted, failures = register.roll_out(workspace, newest, [])
    assert promoted == {"cedar": "1"}
    assert [(one.tenant, one.stage, one.state) for one in failures] == [("alder", "roll out", "failed")]


def test_two_cycles_do_not_run_at_the_same_time(fleet):
    with hold_cycle_lock(fleet.workspace), pytest.raises(WorkspaceError, match="another run"):
        fleet.run_cycle()


def test_a_cycle_without_moves_asks_mlflow_once_for_all_tenants(fleet):
    for tenant in ("alder", "birch", "cedar", "dale"):
        fleet.register(tenant)
        fleet.set_aliases(tenant, champion="1", challenger="2")
    fleet.run_cycle()

    class CountingRegistry:
        def __init__(self, registry):
            self.registry, self.calls = registry, []

        def __getattr__(self, name):
            self.calls.append(name)
            return getattr(self.registry, name)

    workspace = fleet.workspace
    workspace.registry = CountingRegistry(fleet.workspace.registry)
    results, _ = run_cycle(workspace, now_s=lambda: fleet.now_s)
    assert [one.action for one in results] == ["wait"] * 4
    assert [call for call in workspace.registry.calls if call != "is_foreign"] == ["poll_aliased"]


def test_a_shadow_compares_both_answers(make_fleet):
    fleet = make_fleet({"policy": "shadow", "shadow": {"hours": 1.0, "min_requests": 20}})
    fleet.register("alder", 2)
    fleet.set_aliases("alder", champion="1", challenger="2")
    fleet.run_cycle()
    assert fleet.list_exposures() == {"alder": ("2", 1.0, True)}
    fleet.add_observations("alder", 50, {"requests": 2}, {"requests": 2, "agreed": 1})
    assert summarize_cycle(*fleet.run_cycle(1.1)) == "1 promoted"
    figures = read_history(fleet.workspace.database, "alder")[-1].figures
    assert (figures["agreed"], figures["shadowed"]) == (45, 90)
    assert "latency" not in figures["checks"]


def test_a_rollback_stays_in_the_outbox_although_its_cycle_fails_later(fleet, monkeypatch):
    fleet.register("alder")
    fleet.set_aliases("alder", champion="1", challenger="2")
    fleet.run_cycle()
    fleet.add_observations("alder", 20, {"requests": 90}, {"requests": 10, "errors": 5})

    def fail(*_):
        raise WorkspaceError("to remove", "database is locked", "wait")

    monkeypatch.setattr("components.stages.rollout.cycle.delete_observations_before", fail)
    with pytest.raises(WorkspaceError, match="is locked"):
        fleet.run_cycle(0.4)
    assert fleet.list_moves("alder")[-1] == ("rollout", "rollback", "2", "1")
    with pytest.raises(WorkspaceError), take_events(fleet.workspace.database):
        fail()
    with take_events(fleet.workspace.database) as rollbacks:
        assert [(one.tenant, one.from_version) for one in rollbacks] == [("alder", "2")]
    with take_events(fleet.workspace.database) as rollbacks:
        assert rollbacks == []


def test_a_clock_that_is_ahead_deletes_no_observations_of_the_last_90_days(fleet):
    counts = {"tenant": "alder", "version": "1", "arm": "champion", "requests": 1}
    minutes = [fleet.minute - 91 * 24 * 60, fleet.minute - 89 * 24 * 60, fleet.minute]
    write_counts(fleet.workspace.database, [Observation(**counts, minute=minute) for minute in minutes])
    fleet.run_cycle(24 * 365)
    kept = read_observations(fleet.workspace.database, "alder", ["1"], 0, 2**31 - 1)
    assert [one.minute for one in kept] == minutes[1:]


def test_a_cycle_without_trials_corrections_and_events_is_idle(fleet):
    assert run_idle_cycle(fleet.workspace)
    fleet.roll_out("alder")
    assert run_idle_cycle(fleet.workspace)
    with hold_cycle_lock(fleet.workspace), pytest.raises(WorkspaceError, match="until that cycle ends"):
        run_idle_cycle(fleet.workspace)

    fleet.register("alder")
    fleet.roll_out("alder")
    assert not run_idle_cycle(fleet.workspace)  # a trial runs
    manual.roll_back(fleet.workspace, "alder")
    assert not run_idle_cycle(fleet.workspace)  # the event of the rollback is not sent
    with take_events(fleet.workspace.database):
        pass
    assert run_idle_cycle(fleet.workspace)

    fleet.set_aliases("alder", champion="2")
    assert not run_idle_cycle(fleet.workspace)  # an alias was moved in MLflow
    fleet.run_cycle()
    assert run_idle_cycle(fleet.workspace)

    given = Feedback(
        tenant="alder", version="1", arm="champion", request="r1", source="thing: cup", corrected="alder has a cup."
    )
    save_feedback(fleet.workspace.database, given)
    assert not run_idle_cycle(fleet.workspace)  # a correction waits
