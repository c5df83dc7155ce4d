"""`dvc repro` and `dvc exp` on a real git and DVC checkout, with MLflow on sqlite."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.stages.workspace import Workspace
from flows.run_local import run_flow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


def read_manifest(root: Path, tenant: str) -> dict[str, Any]:
    return json.loads((root / "out/train" / tenant / "manifest.json").read_text())


def read_artifacts(root: Path) -> dict[str, tuple[str, int]]:
    """Tenant -> digest of its tensors and the time at which its manifest was written."""
    paths = {path.parent.name: path for path in (root / "out/train").glob("*/manifest.json")}
    return {name: (read_manifest(root, name)["sha256"], path.stat().st_mtime_ns) for name, path in paths.items()}


def test_repro_a_retrain_after_it_metrics_plots_and_experiments(make_checkout, run_in, write_tenant):
    tenants = ("alder", "birch", "cedar", "dale")
    root = make_checkout(tenants, tenants={"dale": {"train": {"prefix_length": 2}}})
    run_in(root, "dvc", "repro")
    before = read_artifacts(root)
    assert set(before) == set(tenants)
    assert "up to date" in run_in(root, "dvc", "repro").stdout
    run_in(root, "git", "add", "-A")
    run_in(root, "git", "commit", "-q", "-m", "first")

    done = run_flow("retrain", root, None)
    assert {one.state for one in done.outcomes} == {"skipped"}
    assert done.promoted == dict.fromkeys(tenants, "1")
    assert Workspace(root).registry.find_champion("alder").sha256 == before["alder"][0]
    assert read_artifacts(root) == before

    (root / "overrides/cedar.yaml").write_text("train: {prefix_length: 4}\n")
    (changes,) = json.loads(run_in(root, "dvc", "status", "--json", "train").stdout)["train"]
    assert changes == {"changed deps": {"overrides": "modified"}}
    write_tenant(root / "data", "birch", start=3)
    told = run_in(root, "dvc", "exp", "run", "-S", "tenants.dale.train.prefix_length=3").stderr
    after = read_artifacts(root)
    assert after["alder"] == before["alder"]
    assert after["birch"][0] != before["birch"][0]
    assert "birch (data changed)" in told
    lengths = {tenant: read_manifest(root, tenant)["prefix_length"] for tenant in tenants}
    assert lengths == {"alder": 2, "birch": 2, "cedar": 4, "dale": 3}
    assert not list(root.glob("out/train/*/state/*.dvc"))

    shown = json.loads(run_in(root, "dvc", "metrics", "show", "--json").stdout)
    assert set(shown[""]["data"]) == {f"out/evaluate/_metrics/{tenant}.json" for tenant in tenants}
    assert "out/evaluate/_metrics/alder.json" in run_in(root, "dvc", "metrics", "diff", "--all", "--md").stdout
    plots = json.loads(run_in(root, "dvc", "plots", "diff", "--json").stdout)
    assert len(plots["data"]) == 3
    assert not plots.get("errors")
