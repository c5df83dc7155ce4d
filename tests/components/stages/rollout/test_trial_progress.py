"""How far trials are: numbers, deadline, and what the next cycle waits for or does."""

from components.registry.mlflow.versions import CHALLENGER
from components.rollout.store.tenant_state import read_states
from components.stages.rollout.actors import Actor
from components.stages.rollout.manual import hold
from components.stages.rollout.trial_progress import read_trials


def read(fleet, hours=0.0):
    workspace = fleet.workspace
    challengers = workspace.registry.poll_aliased(CHALLENGER)[CHALLENGER]
    return read_trials(workspace, read_states(workspace.database), challengers, fleet.now_s + hours * 3600)


def test_a_trial_shows_its_step_and_what_it_waits_for(fleet):
    assert read(fleet) == {}
    for _ in range(2):
        fleet.roll_out("alder", "dale")
        fleet.register("alder")
        fleet.register("dale")
    trials = read(fleet, hours=0.5)
    assert list(trials) == ["alder", "dale"]
    alder, dale = trials["alder"], trials["dale"]
    assert (alder.version, alder.mode, alder.share, alder.step, alder.steps) == ("2", "canary", 0.1, 1, 2)
    assert (alder.progress.requests, alder.progress.min_requests, alder.progress.min_hours) == (0, 20, 1.0)
    assert 0.4 < alder.progress.hours < 0.6
    assert alder.waits_for == "waiting for 0.5 more hours at 10%, 20 more requests"
    assert "canary step 1 of 2 at 10%: 0 of 20 requests" in alder.sentence
    assert (alder.waits_for_person, dale.waits_for_person) == (False, True)
    assert (dale.mode, dale.deadline, dale.waits_for) == (
        "manual",
        None,
        "waiting for `prefixfleet promote`: the policy is manual",
    )
    assert read(fleet, hours=25.0)["alder"].waits_for.startswith("the next cycle rolls it back: the deadline of 24")

    fleet.add_observations("alder", 30, {"requests": 9}, {"requests": 1})
    assert (
        read(fleet, hours=2.0)["alder"].waits_for
        == "the next cycle advances it: no check failed at 10%; advancing to 100%"
    )
    hold(fleet.workspace, "alder", "pause", Actor("ada"))
    paused = read(fleet, hours=2.0)["alder"]
    assert (paused.paused, paused.waits_for) == (True, "the trial is paused")


def test_a_challenger_that_was_set_in_mlflow_waits_for_the_next_cycle(fleet):
    fleet.register("birch")
    fleet.set_aliases("birch", champion="1", challenger="2")
    (trial,) = read(fleet).values()
    assert (trial.version, trial.mode, trial.deadline) == ("2", "", None)
    assert trial.sentence == "version 2: the alias was set in MLflow; the next rollout cycle starts its trial"
