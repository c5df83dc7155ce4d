"""Tenants whose results and versions are copies, compared with a fleet of which every tenant was really registered."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from forked_process import start_process
from workspaces import PROJECT

_TENANTS = 6
_MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from harness.checkouts import make_checkout
from harness.fleet_states import make_fleet_state
from harness.modelled_training import install
from harness.pending_objects import list_dvc_objects
from harness.workspaces import make_tenant_ids, write_workspace
from nightly_retrain import PARAMS
from components.stages.workspace import Workspace

root, originals = Path(sys.argv[1]), int(sys.argv[2])
install()
write_workspace(root, make_tenant_ids(int(sys.argv[3])), PARAMS)
remote = root / ".dvc" / "remote"
make_checkout(root, str(remote))
pushed = {path.relative_to(remote).as_posix() for path in remote.rglob("*") if path.is_file()}
assert {name for name, _ in list_dvc_objects(root, "bucket/remote")} == {f"bucket/remote/{name}" for name in pushed}

def store_files(files):
    for uri, content in files:
        path = Path(uri.removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

tenants = make_tenant_ids(int(sys.argv[3]))
make_fleet_state(Workspace(root), tenants, originals, f"sqlite:///{root}/var/mlflow/mlflow.db", store_files)
"""
_READ = """
import json, sys, tempfile
from dataclasses import asdict
from pathlib import Path
from components.rollout.store.ledger import read_history
from components.rollout.store.tenant_state import read_states
from components.stages.plan import plan
from components.stages.workspace import Workspace

workspace, readings = Workspace(Path(sys.argv[1])), {}
registry = workspace.registry
states = read_states(workspace.database)
for tenant in workspace.list_tenants():
    (version,) = registry.find_versions(tenant)
    run = registry.read_run(version.run_id)
    scratch = tempfile.mkdtemp()
    registry.fetch(version, Path(scratch))
    readings[tenant] = {
        "version": asdict(version) | {"created_s": 0},
        "champion": registry.find_champions()[tenant].version,
        "run": {name: asdict(run)[name] for name in ("experiment_id", "params", "curves", "tags")},
        "files": {
            name: bool(registry.read_run_file(version.run_id, name))
            for name in ("report.json", "predictions.jsonl", "verdict.json")
        },
        "fetched": sorted(path.name for path in Path(scratch).iterdir()),
        "ledger": [asdict(one) | {"at": ""} for one in read_history(workspace.database, tenant)],
        "state": asdict(states[tenant]),
        "out": sorted(str(path.relative_to(workspace.root)) for path in workspace.root.glob(f"out/*/{tenant}/**/*")),
    }
print(json.dumps({"tenants": readings, "planned": len(plan(workspace).items)}))
"""


def _run(root: Path, *command: str) -> str:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "benchmarks")]),
        "MODELLED_TRAINING_SECONDS": "0",
        "DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start_process([sys.executable, *command], root, environment, text=True, **pipes) as process:
        stdout, stderr = process.communicate()
    assert not process.returncode, stdout + stderr
    return str(stdout)


def _normalise(root: Path, readings: dict[str, object], tenant: str) -> object:
    """Return what readers see of a tenant without its own digests, ids, times and scores."""
    text = json.dumps(readings[tenant], sort_keys=True).replace(tenant, "TENANT").replace(str(root), "ROOT")
    text = re.sub(r"\b(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32}|[0-9a-f]{16})\b", "DIGEST", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:+.Z]+", "TIME", text)
    return json.loads(re.sub(r"-?\b\d+\.\d+(e-?\d+)?", "0", text))


@pytest.mark.slow
def test_copied_tenants_look_like_registered_ones_to_every_reader(tmp_path: Path) -> None:
    seen = {}
    for name, originals in (("real", _TENANTS), ("copied", 2)):
        root = tmp_path / name
        root.mkdir()
        _run(root, "-c", _MAKE, str(root), str(originals), str(_TENANTS), str(PROJECT / "benchmarks"))
        read = json.loads(_run(root, "-c", _READ, str(root)).splitlines()[-1])
        assert read["planned"] == 0
        assert len({one["version"]["sha256"] for one in read["tenants"].values()}) == _TENANTS
        assert len({one["version"]["run_id"] for one in read["tenants"].values()}) == _TENANTS
        seen[name] = {tenant: _normalise(root, read["tenants"], tenant) for tenant in read["tenants"]}
        assert _run(root, "-m", "dvc", "status", "-q") == ""
        _run(root, "-m", "cli.main", "history", "--verify")
        status = _run(root, "-m", "cli.main", "status")
        assert status.count("tenant-0000") == _TENANTS
    assert seen["copied"] == seen["real"]
