"""The way back, rehearsed: a fleet with a trial, feedback and keys is backed up, deleted, and restored elsewhere."""

import json
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from processes import PREFIXFLEET, run_in
from workspaces import set_params, write_tenant

from components.access.api_keys import ApiKeys
from components.registry.artifact import load_artifact
from components.rollout.store.feedback import Feedback, save_feedback
from components.rollout.store.tenant_state import read_states
from components.stages.workspace import Workspace

pytestmark = pytest.mark.slow
PAIR = ("alder", "birch")
CANARY = {"policy": "canary", "steps": [{"share": 0.5, "min_requests": 40}, {"share": 1.0}]}


@pytest.fixture
def fleet(make_checkout, prefect_api):
    """Two nights: the second gives alder a trial. An override without a commit, feedback, and a drop that waits."""
    root = make_checkout(PAIR)
    run_in(root, PREFIXFLEET, "retrain")
    set_params(root, tenants={"alder": {"rollout": CANARY}})
    write_tenant(root / "drops", "alder", 100)
    (root / "overrides" / "birch.yaml").write_text("train: {seed: 0}\n")
    run_in(root, PREFIXFLEET, "retrain")
    with closing(Workspace(root).database) as database:
        save_feedback(
            database, Feedback(tenant="alder", version="1", arm="champion", request="r", source="s", rating=1.0)
        )
    return root


def read_served(root: Path) -> dict[str, dict[str, str]]:
    """Load the files of every aliased version as the engine does; return alias -> tenant -> digest."""
    workspace = Workspace(root)
    found = {}
    for alias in ("champion", "challenger"):
        found[alias] = {}
        for tenant, version in workspace.registry.find_aliased(alias).items():
            folder = workspace.registry.fetch(version, root / "var" / "prefixes" / version.sha256)
            found[alias][tenant] = load_artifact(folder, workspace.base)[1].sha256
    return found


def test_a_fleet_comes_back_in_another_folder(fleet, tmp_path):
    key = run_in(fleet, PREFIXFLEET, "keys", "create", "alder").stdout.split()[-1]
    before = read_served(fleet)
    assert before["champion"].keys() == set(PAIR)
    assert before["challenger"].keys() == {"alder"}
    with closing(Workspace(fleet).database) as database:
        states = read_states(database)
    history = run_in(fleet, PREFIXFLEET, "history", "--json").stdout
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=fleet, text=True)
    target = tmp_path / "backups"

    first = run_in(fleet, PREFIXFLEET, "backup", str(target)).stdout
    assert "verified" in first
    again = run_in(fleet, PREFIXFLEET, "backup", str(target)).stdout
    assert again.count("backup 2") == 1
    listed = run_in(tmp_path, PREFIXFLEET, "backup", str(target), "--list").stdout
    assert listed.count(str(fleet)) == 2
    assert run_in(tmp_path, PREFIXFLEET, "backup", str(target), "--verify").stdout.startswith("2 backups")

    shutil.rmtree(fleet)
    shutil.rmtree(fleet.parent / "remote")
    new = tmp_path / "elsewhere" / "fleet"
    told = run_in(tmp_path, PREFIXFLEET, "restore", str(target), str(new)).stdout
    assert "2 tenants with a champion" in told
    assert "By hand:" in told

    assert read_served(new) == before
    with closing(Workspace(new).database) as database:
        assert read_states(database) == states
        assert ApiKeys(database, time.time).verify(key).tenant == "alder"
    assert run_in(new, PREFIXFLEET, "history", "--json").stdout == history
    assert "continue the hash chain" in run_in(new, PREFIXFLEET, "history", "--verify").stdout
    assert (new / "overrides" / "birch.yaml").read_text() == "train: {seed: 0}\n"
    assert subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=new, text=True) == commit
    assert json.loads((new / "var" / "workspace.json").read_text())["copied_from_id"] == ""

    idle = run_in(new, PREFIXFLEET, "retrain")
    assert "the prefixes of all 2 tenants are up to date" in idle.stderr
    assert run_in(new, PREFIXFLEET, "history", "--json").stdout == history
    run_in(new, PREFIXFLEET, "promote", "alder")
    after = read_served(new)
    assert after["champion"]["alder"] == before["challenger"]["alder"]
    # The restored fleet goes on with the same backups.
    assert "verified" in run_in(new, PREFIXFLEET, "backup", str(target), "--keep", "1").stdout
    assert run_in(tmp_path, PREFIXFLEET, "backup", str(target), "--list").stdout.count(str(new)) == 1
