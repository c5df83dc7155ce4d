"""Reports as files: one for each night in out/nights, with the links that params.yaml has."""

import pytest

from components.config.console import ConsoleConfig
from components.errors import WorkspaceError
from components.rollout.store.runs import RunTenant, begin_run_entry, end_run_entry
from components.stages.reports.night_files import make_report, try_to_write_report, write_report
from components.stages.workspace import Workspace

AT = "2026-11-29T02:00:00+00:00"


@pytest.fixture
def workspace(make_root):
    opened = Workspace(make_root(()))
    yield opened
    opened.database.close()


def add_night(workspace):
    run = begin_run_entry(workspace.database, "hand", "ada", AT)
    end_run_entry(workspace.database, run, AT, "abc.dir", 0, [RunTenant(tenant="acme", result="promoted")])
    return run


def test_the_newest_run_is_reported_and_only_a_hundred_files_are_kept(workspace, tmp_path):
    with pytest.raises(WorkspaceError, match="a run of `retrain` that has ended; got none"):
        write_report(workspace)
    first, second = add_night(workspace), add_night(workspace)
    begin_run_entry(workspace.database, "hand", "ada", AT)
    path = write_report(workspace)
    assert path == workspace.root / "out" / "nights" / f"{second}.html"
    assert "acme" in path.read_text()
    assert write_report(workspace, first, tmp_path / "a" / "night.html").exists()
    for number in range(900, 1010):
        (path.parent / f"{number}.html").write_text("")
    assert try_to_write_report(workspace, first).name == f"{first}.html"
    assert len(list(path.parent.iterdir())) == 100
    with pytest.raises(WorkspaceError, match="a run with the number 99"):
        write_report(workspace, 99)
    assert try_to_write_report(workspace, 99) is None


def test_links_are_addresses_without_passwords_and_nothing_else(workspace, monkeypatch):
    run = add_night(workspace)
    config = ConsoleConfig(url="https://fleet.example/console", prefect="javascript:alert(1)")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:secret@mlflow.example")
    report = make_report(workspace.database, run, config, None)
    assert dict(report.links) == {
        "console": f"https://fleet.example/console/nights/{run}",
        "MLflow": "https://ada:***@mlflow.example",
    }
