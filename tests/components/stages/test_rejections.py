"""A rejection is told once: a run in MLflow with the reason, an entry in the ledger, and an event."""

import pytest
from registered_versions import open_mlflow

from components.rollout.store.event_outbox import take_events
from components.rollout.store.ledger import read_history
from components.stages import evaluate, gate, train
from components.stages.plan import plan
from components.stages.rejections import find_rejected, record_rejections
from components.stages.workspace import Workspace


def record(root):
    workspace = Workspace(root)
    return record_rejections(workspace, plan(workspace).collect_fingerprints())


@pytest.fixture
def root(make_root):
    """Two judged tenants; the gate rejects birch."""
    made = make_root(("alder", "birch"), tenants={"birch": {"gate": {"floors": {"bleu": 101.0}}}})
    for stage in (train, evaluate, gate):
        stage.run(Workspace(made))
    return made


def test_a_rejection_is_told_once_with_its_reason(root, set_params):
    reasons = record(root)
    assert list(reasons) == ["birch"]
    assert reasons["birch"].startswith("BLEU ")
    assert reasons["birch"].endswith("is below its floor of 101.")
    assert find_rejected(Workspace(root)) == reasons

    assert record(root) == reasons  # nothing changed, so nothing is told again
    database = Workspace(root).database
    (entry,) = read_history(database)
    assert (entry.tenant, entry.by, entry.action, entry.why) == ("birch", "retrain", "reject", reasons["birch"])
    assert [check["metric"] for check in entry.figures["failed"]] == ["bleu"]
    with take_events(database) as events:
        assert events == [entry]
    client = open_mlflow(Workspace(root).registry)
    (run,) = client.search_runs([client.get_experiment_by_name("prefixfleet").experiment_id])
    assert run.data.tags["verdict"] == "rejected"
    assert run.data.tags["mlflow.note.content"].endswith(reasons["birch"])

    set_params(root, tenants={"birch": {"gate": {"floors": {"bleu": 100.5}}}})
    gate.run(Workspace(root))
    assert record(root)["birch"].endswith("is below its floor of 100.5.")
    assert len(read_history(database)) == 2
    set_params(root)
    gate.run(Workspace(root))
    assert record(root) == {}
