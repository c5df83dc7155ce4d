"""`dvc repro` on a real git and DVC checkout, with MLflow on sqlite."""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def read_manifest(root: Path, tenant: str) -> dict[str, Any]:
    return json.loads((root / "out/train" / tenant / "manifest.json").read_text())


def artifacts(root: Path) -> dict[str, tuple[str, int]]:
    paths = {path.parent.name: path for path in (root / "out/train").glob("*/manifest.json")}
    return {name: (read_manifest(root, name)["sha256"], path.stat().st_mtime_ns) for name, path in paths.items()}


def test_repro_metrics_plots_and_experiments(make_checkout, run_in, write_tenant):
    root = make_checkout(("alder", "birch"))
    run_in(root, "dvc", "repro")
    before = artifacts(root)
    assert set(before) == {"alder", "birch"}
    assert "up to date" in run_in(root, "dvc", "repro").stdout
    run_in(root, "git", "add", "-A")
    run_in(root, "git", "commit", "-q", "-m", "first")

    write_tenant(root / "data", "birch", start=3)
    told = run_in(root, "dvc", "repro").stderr
    after = artifacts(root)
    assert after["alder"] == before["alder"]
    assert after["birch"][0] != before["birch"][0]
    assert "birch (data changed)" in told

    shown = json.loads(run_in(root, "dvc", "metrics", "show", "--json").stdout)
    assert set(shown[""]["data"]["out/evaluate/metrics.json"]["data"]) == {"alder", "birch"}
    assert "out/evaluate/metrics.json" in run_in(root, "dvc", "metrics", "diff", "--all", "--md").stdout
    plots = json.loads(run_in(root, "dvc", "plots", "diff", "--json").stdout)
    assert len(plots["data"]) == 3
    assert not plots.get("errors")

    (root / "overrides/birch.yaml").write_text("train: {prefix_length: 4}\n")
    (changes,) = json.loads(run_in(root, "dvc", "status", "--json", "train").stdout)["train"]
    assert changes == {"changed deps": {"overrides": "modified"}}
    run_in(root, "dvc", "exp", "run", "-S", "train.prefix_length=3")
    lengths = {tenant: read_manifest(root, tenant)["prefix_length"] for tenant in ("alder", "birch")}
    assert lengths == {"alder": 3, "birch": 4}
    assert not list(root.glob("out/train/*/state/*.dvc"))
