"""Stage `register`: which prefixes become versions."""

from components.registry.registry import CHAMPION
from components.stages import evaluate, gate, register, train
from components.stages.outcome import raise_on_failures
from components.stages.plan import plan
from components.stages.rollout import manual
from components.stages.workspace import Workspace


def test_a_prefix_that_was_not_planned_or_whose_champion_is_foreign_gets_no_version(make_root, caplog):
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
    registry = workspace.registry
    registry.set_alias("birch", CHAMPION, "1")
    registry.set_tags(registry.find_versions("birch")[0], {"owner": "0123456789abcdef", "sha256": "a" * 64})
    _, failures = register.register(workspace, {"birch": planned["birch"]})
    assert "belongs to workspace 0123456789abcdef" in failures[0].detail
    manual.adopt(workspace, "birch")
    registry.set_tags(registry.find_versions("birch")[0], {"sha256": versions["birch"].sha256})
    registry.delete_alias("birch", CHAMPION)
    versions, failures = register.register(workspace, planned)
    assert ({tenant: one.version for tenant, one in versions.items()}, failures) == ({"alder": "1", "birch": "1"}, [])
