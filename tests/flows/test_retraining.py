"""A retraining with nothing to do needs no Prefect server; anything else runs as a flow."""

import json
import shutil

import pytest
from processes import PREFIXFLEET, run_in
from stage_chain import run_chain

from components.errors import WorkspaceError
from components.rollout.store.flow_ends import read_flow_ends
from components.stages import dataset
from components.stages.reports.charts import draw_charts
from components.stages.workspace import Workspace
from flows import retraining


@pytest.fixture(scope="module")
def complete(make_checkout_in, tmp_path_factory):
    """A checkout after a complete run, to copy."""
    made = make_checkout_in(tmp_path_factory.mktemp("complete"), ("alder",))
    run_chain(made)
    draw_charts(Workspace(made))
    dataset.commit_to_dvc(Workspace(made))
    return made


@pytest.fixture
def root(complete, tmp_path, monkeypatch):
    """A checkout after a complete run."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it for its process
    copy = shutil.copytree(complete, tmp_path / "workspace", ignore=shutil.ignore_patterns("*-shm"))
    Workspace(copy).registry.find_champions()  # the first look changes the locations in MLflow's database, and says so
    return copy


@pytest.fixture
def flows(monkeypatch):
    """The flows that would have been started."""
    started = []
    monkeypatch.setattr(retraining, "run_flow", lambda *arguments, **options: started.append((arguments, options)))
    return started


def test_with_nothing_to_do_no_flow_is_started(root, flows, monkeypatch, otlp):
    monkeypatch.delenv("PREFECT_API_URL")
    result = retraining.retrain_local(root)
    assert flows == []
    assert result.sentence == "0 trained, 0 promoted of 1 tenants"
    assert result.plan == "nothing to train: the prefixes of all 1 tenants are up to date"
    assert [row.alias for row in result.rows] == ["champion"]
    assert result.causes[0].endswith(" started a run")
    assert [one.flow for one in read_flow_ends(Workspace(root).database)] == ["retrain"]
    idle = otlp.wait_for("retrain", to_train=0, unchanged=1)
    assert not idle.is_failed
    shutil.rmtree(root / "out/gate")
    retraining.retrain_local(root, ["alder"], full_check=True)
    assert flows == [(("retrain", root, ["alder"]), {"full_check": True, "trigger": "hand"})]
    assert len(otlp.find("retrain")) == 1


def test_a_server_of_the_user_s_is_told_of_every_run(root, flows):
    retraining.retrain_local(root)
    assert len(flows) == 1


def test_a_run_that_is_at_work_is_an_error_at_once(root, flows, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL")
    with Workspace(root).lock(), pytest.raises(WorkspaceError, match="another run"):
        retraining.retrain_local(root)
    assert flows == []


def test_the_command_with_nothing_to_do_leaves_no_file_of_prefect_s_and_logs_as_the_environment_says(root, monkeypatch):
    monkeypatch.setenv("PREFIXFLEET_LOG_FORMAT", "json")
    done = run_in(root, PREFIXFLEET, "retrain", own_prefect=True)
    assert "0 trained, 0 promoted of 1 tenants" in done.stdout
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in lines] == ["nothing to train: the prefixes of all 1 tenants are up to date"]
    assert not (root / "var" / "prefect").exists()
