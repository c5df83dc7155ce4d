"""The results of an intake, as outcomes and as one line; a named tenant without a drop is an error."""

import pytest

from components.data.intake import IntakeResult
from components.data.merge import DropFacts, SplitCounts
from components.errors import DataError, WorkspaceError
from components.stages import dataset
from components.stages.dataset import (
    describe_taken,
    ensure_data,
    ensure_version,
    find_tenants_with_drops,
    ingest_drops,
    ingest_waiting_drops,
    summarize_intake,
    to_outcomes,
)
from components.stages.outcome import TenantOutcome
from components.stages.workspace import Workspace

RESULT = IntakeResult("c" * 32, ["alder"], {"birch": "too many rejects"}, 3)


def test_an_intake_is_summarized_in_one_line():
    line = "dataset version cccccccccccc: alder changed; 3 lines in quarantine; birch refused (too many rejects)"
    assert summarize_intake(RESULT) == line
    assert summarize_intake(IntakeResult("c" * 32, [], {}, 0)) == "dataset version cccccccccccc: nothing changed"


def test_changed_and_refused_tenants_have_an_outcome():
    refused = TenantOutcome("birch", "version", "failed", "too many rejects")
    assert to_outcomes(RESULT) == [TenantOutcome("alder", "version", "done"), refused]


def test_a_named_tenant_without_a_drop_is_an_error(make_root, write_tenant):
    workspace = Workspace(make_root(("alder",)))
    write_tenant(workspace.drops, "alder")
    assert find_tenants_with_drops(workspace) == ["alder"]
    with pytest.raises(DataError, match="no drop of birch in "):
        ingest_drops(workspace, ["alder", "birch"])


def test_without_a_drop_of_the_named_tenants_no_drop_is_taken(make_root, write_tenant, monkeypatch):
    workspace = Workspace(make_root(("alder",)))
    write_tenant(workspace.drops, "birch")
    monkeypatch.setattr(dataset, "take_drops", lambda *_: pytest.fail("takes drops"))
    assert ingest_waiting_drops(workspace, ["alder"]) is None


def test_data_that_were_changed_without_dvc_are_an_error_and_missing_data_are_fetched(make_root, monkeypatch):
    root = make_root(("alder",))
    pulls = []
    monkeypatch.setattr(dataset, "pull", pulls.append)
    monkeypatch.setattr(dataset, "is_clean", lambda _root: False)
    with pytest.raises(WorkspaceError, match="run `dvc add data`"):
        ensure_data(Workspace(root))
    (root / "data").rename(root / "away")
    assert ensure_data(Workspace(root)) == Workspace(root).dataset_version
    assert pulls == [root]


def test_data_are_checked_once_whether_drops_wait_or_not(make_root, write_tenant, monkeypatch):
    workspace = Workspace(make_root(("alder",)))
    checks = []
    monkeypatch.setattr(dataset, "is_clean", lambda root: not checks.append(root))
    assert ensure_version(workspace) == (workspace.dataset_version, [])
    write_tenant(workspace.drops, "birch")
    refused = IntakeResult(workspace.dataset_version, [], {"birch": "too many rejects"}, 3)
    monkeypatch.setattr(dataset, "take_drops", lambda *_: refused)
    failure = TenantOutcome("birch", "version", "failed", "too many rejects")
    assert ensure_version(workspace) == (workspace.dataset_version, [failure])
    taken = IntakeResult("c" * 32, ["birch"], {}, 0, {"birch": DropFacts({}, [])})
    monkeypatch.setattr(dataset, "take_drops", lambda *_: taken)
    assert ensure_version(workspace) == ("c" * 32, [])
    assert checks == [workspace.root] * 2


def test_repeated_lines_and_overlaps_of_taken_drops_are_told_for_the_first_ten_tenants():
    def facts(duplicates):
        return DropFacts({"train": SplitCounts(5, duplicates, 0, 0)}, [])

    taken = {f"t{number}": facts(1) for number in range(12)} | {"quiet": facts(0)}
    lines = describe_taken(IntakeResult("c" * 32, [], {}, 0, taken))
    assert lines[0] == "t0: train 5 lines: 4 new, 1 repeat another line of the drop"
    assert lines[10:] == ["and 2 more tenants"]


@pytest.mark.parametrize("linked", ["out", "out/train"])
def test_results_behind_a_link_are_not_recorded_and_the_run_goes_on(make_root, monkeypatch, caplog, tmp_path, linked):
    workspace = Workspace(make_root(("alder",)))
    monkeypatch.setattr(dataset, "commit", lambda _root: pytest.fail("asks DVC to record"))
    (workspace.root / linked).parent.mkdir(exist_ok=True)
    (workspace.root / linked).symlink_to(tmp_path)
    dataset.commit_to_dvc(workspace)
    assert f"{workspace.root / linked} is a symbolic link" in caplog.text
