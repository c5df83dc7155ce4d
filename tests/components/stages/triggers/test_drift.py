"""Drifted requests open one cause a window, with a line in the ledger and an event; status names them."""

import pytest
from stage_chain import run_chain

from components.registry.mlflow.versions import CHAMPION
from components.rollout.policy.input_profile import InputCounts, InputProfile
from components.rollout.store.causes import read_newest_causes, read_open_causes
from components.rollout.store.event_outbox import take_events
from components.rollout.store.inputs import InputKey, InputVersion, add_inputs, read_profiles
from components.rollout.store.ledger import read_history
from components.serving.fleet.input_statistics import to_row
from components.stages.reports.status import read_status
from components.stages.triggers.drift import look_for_drift
from components.stages.workspace import Workspace

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def served(make_root_in, tmp_path_factory):
    """A workspace with a champion whose profile is made, and that champion's key."""
    drift = {"min_requests": 50, "threshold": 0.3}
    root = make_root_in(tmp_path_factory.mktemp("drift"), ("alder",), triggers={"drift": drift})
    run_chain(root)
    workspace = Workspace(root)
    assert look_for_drift(workspace, lambda: 0.0) == []
    champion = workspace.registry.poll_aliased(CHAMPION)[CHAMPION]["alder"]
    return root, InputVersion("alder", champion.sha256)


def serve(root, key, source, day, count=60):
    workspace = Workspace(root)
    profile = InputProfile.from_json(read_profiles(workspace.database, [key])[key])
    total = sum((profile.count(source) for _ in range(count)), InputCounts())
    add_inputs(workspace.database, {InputKey(key, 24 * day + 5): to_row(total)})


def look(root, day):
    return look_for_drift(Workspace(root), lambda: day * DAY_S + 10 * 3600)


def test_requests_like_the_training_data_or_too_few_of_others_are_no_drift(served):
    root, key = served
    serve(root, key, "thing: boat | colour: red | number: 3", 10)
    assert look(root, 10) == []
    assert read_status(Workspace(root), now_s=lambda: 10 * DAY_S + 36_000).tenants[0].drift.score < 0.1
    serve(root, key, "zebra " * 40, 12, count=49)
    assert look(root, 12) == []


def test_drifted_requests_are_one_cause_and_one_event_a_window(served):
    root, key = served
    workspace = Workspace(root)
    serve(root, key, "zebra " * 40, 20)
    opened = look(root, 20)
    assert [(one.tenant, one.kind, one.result) for one in opened] == [("alder", "drift", "an event")]
    assert look(root, 20) == []
    assert read_open_causes(workspace.database) == [], "an event starts no run"
    line = read_history(workspace.database, "alder")[-1]
    assert (line.action, line.by, line.why) == ("drift", "watch", opened[0].why)
    assert line.figures["words"] > 0.3
    with take_events(workspace.database) as entries:
        assert [one.action for one in entries] == ["drift"]
    fleet = read_status(workspace, now_s=lambda: 20 * DAY_S + 36_000)
    assert opened[0].why in fleet.tenants[0].notes
    assert fleet.to_json()["tenants"][0]["drift"]["requests"] == 60
    serve(root, key, "zebra " * 40, 21)
    assert len(look(root, 21)) == 1


def test_with_action_retrain_the_cause_stays_open_for_a_run(served, set_params):
    root, key = served
    set_params(root, triggers={"drift": {"min_requests": 50, "threshold": 0.3, "action": "retrain"}})
    serve(root, key, "zebra " * 40, 30)
    assert look(root, 30) == read_open_causes(Workspace(root).database)
    assert read_newest_causes(Workspace(root).database, 1)[0].closed_at == ""


def test_without_a_configuration_there_is_no_score(served, set_params):
    root, _ = served
    set_params(root)
    assert look(root, 20) == []
    assert read_status(Workspace(root)).tenants[0].drift is None
