"""A tenant's last failure is kept until it succeeds in the same stage or a later one."""

from components.stages.last_failures import read_failures, record_outcomes
from components.stages.outcome import TenantOutcome
from components.stages.workspace import Workspace


def test_a_failure_stays_until_its_stage_or_a_later_one_succeeds(make_root):
    workspace = Workspace(make_root(()))
    (workspace.drops / "birch").mkdir(parents=True)
    assert read_failures(workspace) == {}
    record_outcomes(
        workspace,
        [
            TenantOutcome("alder", "train", "skipped"),
            TenantOutcome("alder", "evaluate", "failed", "out of memory"),
            TenantOutcome("birch", "version", "failed", "no line is valid"),
            TenantOutcome("../stray entry", "version", "failed", "no tenant id"),
        ],
    )
    failures = read_failures(workspace)
    assert {tenant: (one.stage, one.reason) for tenant, one in failures.items()} == {
        "alder": ("evaluate", "out of memory"),
        "birch": ("version", "no line is valid"),
    }
    record_outcomes(workspace, [TenantOutcome(tenant, "train", "done") for tenant in failures])
    assert list(read_failures(workspace)) == ["alder", "birch"]
    record_outcomes(workspace, [TenantOutcome("alder", "roll out", "done")], implies_earlier_stages=False)
    assert list(read_failures(workspace)) == ["alder", "birch"]
    record_outcomes(workspace, [TenantOutcome("alder", "gate", "skipped")])
    assert list(read_failures(workspace)) == ["birch"]
    record_outcomes(workspace, [TenantOutcome("birch", "version", "done")])
    assert read_failures(workspace) == {}


def test_a_refused_drop_that_was_removed_is_no_failure_any_more(make_root):
    workspace = Workspace(make_root(()))
    record_outcomes(workspace, [TenantOutcome("birch", "version", "failed", "no line is valid")])
    assert list(read_failures(workspace)) == ["birch"]
    record_outcomes(workspace, [])
    assert read_failures(workspace) == {}


def test_a_broken_record_counts_as_none(make_root):
    workspace = Workspace(make_root(()))
    record_outcomes(workspace, [TenantOutcome("alder", "train", "failed", "x")])
    (workspace.root / "var/failures/alder.json").write_text("{")
    assert read_failures(workspace) == {}
