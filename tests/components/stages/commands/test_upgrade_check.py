"""What a new release needs of a workspace: found part by part, and nothing is changed."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from components.rollout.store import database as store
from components.rollout.store.migrations import SCHEMA
from components.stages.commands.upgrade_check import check_upgrade
from components.stages.workspace import Workspace
from components.storage.database import Database
from components.storage.migrations import Revision


@pytest.fixture
def workspace(make_root, monkeypatch):
    monkeypatch.delenv("PREFIXFLEET_DATABASE", raising=False)
    return Workspace(make_root(("alder",)))


def read_todo(workspace):
    return {one.name: (one.present, one.todo) for one in check_upgrade(workspace) if one.todo and one.name != "files"}


def write_manifest(workspace, schema):
    folder = workspace.root / "out/train/alder"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps({"schema_version": schema}))


def test_a_new_workspace_has_nothing_to_do_but_its_files(workspace):
    assert read_todo(workspace) == {}
    assert {one.name for one in check_upgrade(workspace)} == {
        *("params.yaml", "files", "MLflow's tables", "the rollout's tables", "artifacts")
    }


def test_older_tables_and_artifacts_are_named_and_left_as_they_are(workspace, monkeypatch):
    url = f"sqlite:///{workspace.root}/var/prefixfleet.db"
    Database(url, replace(SCHEMA, head="0010")).close()
    with closing(sqlite3.connect(workspace.root / "var/mlflow/mlflow.db")) as mlflow:
        mlflow.execute("UPDATE alembic_version SET version_num = 'older'")
        mlflow.commit()
    write_manifest(workspace, 1)
    for _ in range(2):
        found = read_todo(workspace)
        assert found["the rollout's tables"] == (
            "revision 0010",
            "`prefixfleet upgrade --tables`; older releases may still run",
        )
        assert found["MLflow's tables"][0] == "revision older"
        assert "mlflow db upgrade sqlite:///" in found["MLflow's tables"][1]
        assert found["artifacts"] == ("1: an older or newer schema", "`prefixfleet retrain` trains these tenants again")


def test_what_only_older_releases_use_waits_for_a_person(workspace, monkeypatch):
    report = store.TablesReport("0013", [Revision("0014", "contract", "Tides are gone.")], "0014")
    monkeypatch.setattr("components.stages.commands.upgrade_check.inspect_tables", lambda _: report)
    (part,) = [one for one in check_upgrade(workspace) if one.name == "what older releases use"]
    assert (part.wanted, part.todo.endswith("`prefixfleet upgrade --tables --contract`")) == (
        "0014: Tides are gone.",
        True,
    )


def test_mlflow_behind_a_server_is_a_person_s_affair(workspace, set_params, monkeypatch):
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert read_todo(workspace)["MLflow's tables"][0] == "behind a server"
