"""A run is read back as it was logged: parameters, curves, tags, small files."""

from pathlib import Path

from components.registry.registry import Registry, RunLog


def test_a_run_has_its_parameters_curves_and_files(registry: Registry, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_bytes(b'{"a": 1}')
    run_id = registry.log_run(
        "acme",
        RunLog(
            params={"train": {"max_steps": 4}},
            metrics={"seconds": 2.5, "train_loss": 1.0},
            curves={"train_loss": [(2, 3.0), (4, 1.0)], "validation_loss": [(2, 4.0)]},
            tags={"cause": "data changed"},
            files=[report],
        ),
    )
    run = registry.read_run(run_id)
    assert run is not None
    assert run.params["train.max_steps"] == "4"
    assert run.curves == {"train_loss": [(2, 3.0), (4, 1.0)], "validation_loss": [(2, 4.0)]}
    assert (run.seconds, run.tags["cause"]) == (2.5, "data changed")
    assert registry.read_run_file(run_id, "report.json") == b'{"a": 1}'
    assert registry.read_run_file(run_id, "verdict.json") is None


def test_a_run_that_does_not_exist_is_none(registry: Registry) -> None:
    assert registry.read_run("0" * 32) is None
    assert registry.read_run_file("0" * 32, "report.json") is None
