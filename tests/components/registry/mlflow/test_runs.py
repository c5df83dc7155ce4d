from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registered_versions import open_mlflow

from components.errors import RegistryError
from components.registry.manifest import Manifest
from components.registry.registry import Registry, RunLog, read_curves

Save = Callable[..., Manifest]
Make = Callable[..., Any]


def test_a_run_has_params_metrics_curves_dataset_and_files(registry: Registry, save: Save, tmp_path: Path) -> None:
    report, predictions = tmp_path / "report.json", tmp_path / "base"
    report.write_text("{}")
    predictions.mkdir()
    (predictions / "predictions.jsonl").write_text("")
    curve = [(step, 1 / (step + 1)) for step in range(1700)]
    many = [(str(number), number) for number in range(150)]
    run = RunLog(
        params={
            "train": {"prefix_length": 8, "init_text": None},
            "long": "x" * 9000,
            "many": dict(many),
        },
        metrics={"bleu": 61.5, "never": float("nan")},
        curves={"train_loss": curve, "validation_loss": [(50, 0.5)]},
        dataset_version="d" * 32 + ".dir",
        tags={"verdict": "accepted"},
        files=[report, predictions],
    )
    save(tmp_path / "acme")
    version = registry.register("acme", tmp_path / "acme", "base", {}, run)
    client = open_mlflow(registry)
    logged = client.get_run(version.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == "acme"
    assert logged.data.params["train.prefix_length"] == "8"
    assert len(logged.data.params) == 153
    assert logged.data.metrics == {"bleu": 61.5, "train_loss": pytest.approx(curve[-1][1]), "validation_loss": 0.5}
    assert len(client.get_metric_history(version.run_id, "train_loss")) == 1700
    assert logged.data.tags["dataset_version"] == "d" * 32 + ".dir"
    assert logged.inputs.dataset_inputs[0].dataset.digest == "d" * 32 + ".dir"
    assert {file.path for file in client.list_artifacts(version.run_id)} == {"report.json", "base", "model"}


def test_a_rejected_prefix_has_a_run_and_no_version(registry: Registry, tmp_path: Path) -> None:
    run_id = registry.log_run("acme", RunLog(metrics={"bleu": 3.0}, tags={"verdict": "rejected"}))
    assert open_mlflow(registry).get_run(run_id).info.status == "FINISHED"
    assert registry.find_versions("acme") == []
    assert registry.find_champions() == {}


def test_a_failed_run_is_marked_and_has_no_version(registry: Registry, save: Save, tmp_path: Path) -> None:
    save(tmp_path / "acme")
    with pytest.raises(RegistryError, match=r"gone\.json"):
        registry.register("acme", tmp_path / "acme", "base", {}, RunLog(files=[tmp_path / "gone.json"]))
    client = open_mlflow(registry)
    runs = client.search_runs([client.get_experiment_by_name("prefixfleet").experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]
    assert registry.find_versions("acme") == []


def test_curves_are_read_from_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "loss.csv"
    path.write_text("step,train_loss,validation_loss\n0,3.5,\n50,2.5,2.75\n")
    assert read_curves(path) == {"train_loss": [(0, 3.5), (50, 2.5)], "validation_loss": [(50, 2.75)]}
    path.write_text("step,train_loss\nx,3\n")
    with pytest.raises(RegistryError, match=r"loss\.csv"):
        read_curves(path)
