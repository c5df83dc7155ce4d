"""Stage `register`: which prefixes become versions."""

from components.stages import evaluate, gate, register, train
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.workspace import Workspace


def test_a_prefix_that_was_not_planned_gets_no_version(make_root, caplog):
    root = make_root(("alder", "birch"))
    for stage in (train, evaluate, gate):
        raise_on_failures(stage.run(Workspace(root)))
    workspace = Workspace(root)
    planned = plan(workspace).collect_fingerprints()
    versions, failures = register.register(workspace, {**planned, "alder": planned["birch"]})
    assert list(versions) == ["birch"]
    assert [(one.tenant, one.stage, one.state) for one in failures] == [("alder", "register", "failed")]
    got = f"got fingerprint {planned['alder'][:12]}, not {planned['birch'][:12]} as planned"
    assert got in failures[0].detail
    assert "alder: not registered: " in caplog.text
    versions, failures = register.register(workspace, planned)
    assert ({tenant: one.version for tenant, one in versions.items()}, failures) == ({"alder": "1", "birch": "1"}, [])
