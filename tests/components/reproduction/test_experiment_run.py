"""Running, stopping and resuming an experiment, with a fake measuring process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.errors import TrainingError, WorkspaceError
from components.reproduction.experiment_run import ExperimentOutcome, reproduce
from components.reproduction.gather import gather_lines
from components.reproduction.plan import BaseFacts
from components.reproduction.request import make_request
from components.reproduction.tables import format_json, format_markdown


def write_tables(outcome: ExperimentOutcome, out: Path) -> list[Path]:
    """Write the tables without drawing the figure."""
    lines = gather_lines("table1", "e2e", outcome.points, outcome.results)
    (out / "table1.md").write_text(format_markdown(outcome, lines, "table1.png"))
    (out / "table1.json").write_text(format_json(outcome, lines))
    return [out / "table1.md", out / "table1.json"]


@pytest.fixture
def run(tmp_path: Path, e2e: Path, facts: BaseFacts, fake_measure: Any) -> Callable[..., list[Path]]:
    """A function that runs table1 (full and prefix, two seeds) with the fake measurement."""

    def run_table1(
        metrics: frozenset[str] = frozenset({"bleu"}), measure: Any = fake_measure, **options: Any
    ) -> list[Path]:
        request = {"only": "full,prefix", "budget": "5", **options}
        return reproduce(
            make_request("table1", base="b", data=str(e2e), **request),
            tmp_path / "out",
            read_facts=lambda _path: facts,
            find_metrics=lambda _suite: metrics,
            write_files=write_tables,
            measure_job=measure,
        )

    return run_table1


def lines_of(out: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads((out / "table1.json").read_text())["lines"]
    return lines


def test_a_second_run_measures_nothing(run: Callable[..., list[Path]], fake_measure: Any) -> None:
    assert [file.name for file in run()] == ["table1.md", "table1.json"]
    assert fake_measure.labels == [
        "full fine-tuning, seed 0",
        "full fine-tuning, seed 1",
        "prefix, seed 0",
        "prefix, seed 1",
    ]
    run()
    assert len(fake_measure.labels) == 4


def test_an_interrupted_run_writes_its_results_and_the_next_run_continues(
    run: Callable[..., list[Path]], fake_measure: Any, tmp_path: Path
) -> None:
    fake_measure.errors = {3: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        run()
    assert [(line["row"], line["runs"]) for line in lines_of(tmp_path / "out")] == [("full", 2)]
    assert "2 results are not measured yet" in (tmp_path / "out" / "table1.md").read_text()
    run()
    assert fake_measure.labels[3:] == ["prefix, seed 0", "prefix, seed 1"]
    assert [(line["row"], line["runs"]) for line in lines_of(tmp_path / "out")] == [("full", 2), ("prefix", 2)]


def test_results_of_another_config_are_not_used(
    run: Callable[..., list[Path]], fake_measure: Any, tmp_path: Path
) -> None:
    run()
    fake_measure.metrics = {"bleu": 10.0}
    run(budget="6")
    assert len(fake_measure.labels) == 8
    assert [line["scores"][0]["mean"] for line in lines_of(tmp_path / "out")] == [10.5, 10.5]
    run()
    assert len(fake_measure.labels) == 8
    assert [line["scores"][0]["mean"] for line in lines_of(tmp_path / "out")] == [50.5, 50.5]


def test_one_failure_does_not_stop_the_others(
    run: Callable[..., list[Path]], fake_measure: Any, tmp_path: Path
) -> None:
    fake_measure.errors = {1: TrainingError("a finite loss", "nan", "lower the rate")}
    with pytest.raises(TrainingError) as error:
        run()
    assert error.value.wanted == "all 4 results of table1"
    assert "full fine-tuning, seed 0" in error.value.got
    assert [(line["row"], line["runs"]) for line in lines_of(tmp_path / "out")] == [("full", 1), ("prefix", 2)]
    assert "Failed: full fine-tuning, seed 0" in (tmp_path / "out" / "table1.md").read_text()
    run()
    assert fake_measure.labels[4:] == ["full fine-tuning, seed 0"]


def test_a_metric_that_can_be_computed_now_is_measured_again(run: Callable[..., list[Path]], fake_measure: Any) -> None:
    run()
    fake_measure.metrics = {"bleu": 50.0, "meteor": 0.4}
    run(metrics=frozenset({"bleu", "meteor"}))
    assert len(fake_measure.labels) == 8


def test_two_runs_cannot_use_one_folder(run: Callable[..., list[Path]]) -> None:
    inner: list[WorkspaceError] = []

    def nested(_job: Any, _label: str) -> None:
        with pytest.raises(WorkspaceError) as error:
            run()
        inner.append(error.value)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(measure=nested)
    assert "another run" in inner[0].got
