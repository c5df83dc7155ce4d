"""Stage `gate`: a rejected prefix leaves the champion untouched; a tenant without a report fails."""

import pytest
from stage_chain import get_states, run_chain

from components.errors import GateError
from components.stages import gate
from components.stages.plan import plan
from components.stages.rejections import record_rejections
from components.stages.reports import results_table, status
from components.stages.workspace import Workspace

PAIR = ("alder", "birch")


def test_a_rejected_prefix_leaves_the_champion_untouched(make_root, set_params):
    root = make_root(PAIR)
    run_chain(root)
    set_params(root, train={"seed": 1}, gate={"floors": {"bleu": 99.0}})
    outcomes, promoted = run_chain(root)
    assert get_states(outcomes, "train") == {"alder": "done", "birch": "done"}
    assert promoted == {}
    workspace = Workspace(root)
    record_rejections(workspace, plan(workspace).collect_fingerprints())
    assert {tenant: version.version for tenant, version in workspace.registry.find_champions().items()} == {
        "alder": "1",
        "birch": "1",
    }
    assert [row.verdict for row in results_table.read_results(workspace)] == ["rejected", "rejected"]
    assert "train.seed changed" not in plan(workspace).sentence
    assert status.read_status(workspace, ["alder"]).tenants[0].state == "refused"


def test_a_tenant_without_a_report_fails(make_root):
    workspace = Workspace(make_root(("alder",)))
    with pytest.raises(GateError, match=r"a report on alder's prefix; got none in .*out/evaluate/alder"):
        gate.judge_tenant(workspace, "alder")
    assert gate.read_last_verdict(workspace, "alder") is None
