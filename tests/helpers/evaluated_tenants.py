"""Tenants of different methods in one workspace: their evaluation, a champion, and the files that it writes."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.registry.manifest import read_manifest
from components.registry.mlflow.versions import Version
from components.stages import evaluate, train
from components.stages.outcome import TenantOutcome
from components.stages.plan import plan
from components.stages.workspace import Workspace

TRAIN: dict[str, dict[str, Any]] = {
    "alder": {"prefix_length": 1},
    "birch": {"prefix_length": 5, "seed": 1},
    "cedar": {"method": "infix", "prefix_length": 3},
    "dogwood": {"method": "lora", "lora_rank": 2},
    "elder": {"method": "embedding"},
    "fir": {"method": "in-context", "demonstrations": 1},
}


def make_champion(root: Path, tenant: str, scratch: Path) -> Version:
    """Train another prefix of a tenant, and put it where a champion's fetched files lie."""
    artifact, kept = root / "out/train" / tenant, scratch / "kept"
    shutil.copytree(artifact, kept)
    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("max_steps: 4", "max_steps: 3"))
    train.run(Workspace(root), [tenant])
    (root / "params.yaml").write_text(params)
    version = Version(tenant, "7", sha256=read_manifest(artifact).sha256)
    shutil.copytree(artifact, Workspace(root).get_champion_folder(version))
    shutil.rmtree(artifact)
    shutil.move(kept, artifact)
    return version


def run_evaluation(
    root: Path, tenants: Sequence[str] | None = None, champions: Mapping[str, Version] | None = None
) -> dict[str, TenantOutcome]:
    """Evaluate in the order of the tenants' names; return tenant -> outcome."""
    workspace = Workspace(root)
    current = plan(workspace, tenants)
    fingerprints = dict(sorted(current.collect_fingerprints().items()))
    outcomes = evaluate.evaluate_shard(workspace, fingerprints, champions or {}, current.reasons)
    assert [one.tenant for one in outcomes] == list(fingerprints)
    return {one.tenant: one for one in outcomes}


def read_written(root: Path, tenant: str) -> dict[str, bytes]:
    """Return path -> content of all files of a tenant's evaluation."""
    folder = root / "out/evaluate" / tenant
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
