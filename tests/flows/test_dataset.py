"""The flow `dataset` without a Prefect server: its end state and its report."""

import pytest

from components.data.intake import IntakeResult
from components.errors import WorkspaceError
from components.stages.workspace import Workspace
from flows import dataset
from flows.states import read_result


@pytest.fixture
def reports(monkeypatch, tmp_path):
    """A list that gets the arguments of each call of `publish_report`."""
    calls = []
    (tmp_path / "params.yaml").touch()
    monkeypatch.setattr(dataset, "publish_report", lambda *arguments: calls.append(arguments))
    return calls


@pytest.mark.parametrize(("refused", "kind"), [({}, "COMPLETED"), ({"birch": "no examples"}, "FAILED")])
def test_a_refused_drop_makes_the_end_state_failed(tmp_path, monkeypatch, reports, refused, kind):
    result = IntakeResult("a" * 32, ["alder"], refused, 0)
    monkeypatch.setattr(dataset, "ingest_drops", lambda _workspace, _tenants: result)
    state = dataset.dataset.fn(str(tmp_path))
    assert state.type.value == kind
    assert read_result(state) is result
    assert reports == [(state.message, refused)]


def test_the_flow_holds_the_lock_of_the_workspace(tmp_path, reports):
    with Workspace(tmp_path).lock(), pytest.raises(WorkspaceError, match="another run"):
        dataset.dataset.fn(str(tmp_path))
    assert reports == []


def test_a_report_names_each_refused_tenant_with_its_reason(monkeypatch):
    artifacts = []
    monkeypatch.setattr(dataset, "create_markdown_artifact", lambda **fields: artifacts.append(fields))
    dataset.publish_report.fn("alder changed", {"birch": "no examples"})
    markdown = "# Dataset\n\nalder changed\n\n- **birch** refused: no examples\n"
    assert artifacts == [{"key": "dataset-report", "markdown": markdown}]
