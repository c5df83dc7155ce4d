"""Running, stopping and resuming an experiment, with a fake in the place of the measuring process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.errors import TrainingError, WorkspaceError
from components.reproduction.experiment_run import reproduce
from components.reproduction.output_files import write_experiment_files
from components.reproduction.plan import BaseFacts
from components.reproduction.request import make_request


@pytest.fixture
def run(tmp_path: Path, e2e: Path, facts: BaseFacts, fake_measure: Any) -> Callable[..., list[Path]]:
    """A function that runs table1 (full and prefix, two seeds) with the fake."""

    def go(metrics: frozenset[str] = frozenset({"bleu"}), measure: Any = fake_measure, **options: Any) -> list[Path]:
        asked = {"only": "full,prefix", "budget": "5", **options}
        return reproduce(
            make_request("table1", base="b", data=str(e2e), **asked),
            tmp_path / "out",
            read_facts=lambda _path: facts,
            find_metrics=lambda _suite: metrics,
            write_files=write_experiment_files,
            measure_job=measure,
        )

    return go


def lines_of(out: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads((out / "table1.json").read_text())["lines"]
    return lines


def test_a_second_run_measures_nothing(run: Callable[..., list[Path]], fake_measure: Any) -> None:
    assert [file.name for file in run()] == [f"table1.{kind}" for kind in ("md", "csv", "json", "png")]
    assert fake_measure.asked == [
        "full fine-tuning, seed 0",
        "full fine-tuning, seed 1",
        "prefix, seed 0",
        "prefix, seed 1",
    ]
    run()
    assert len(fake_measure.asked) == 4


def test_an_interrupted_run_tells_what_it_has_and_goes_on(
    run: Callable[..., list[Path]], fake_measure: Any, tmp_path: Path
) -> None:
    fake_measure.trouble = {3: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        run()
    assert [(line["row"], line["runs"]) for line in lines_of(tmp_path / "out")] == [("full", 2)]
    assert "2 results are not measured yet" in (tmp_path / "out" / "table1.md").read_text()
    run()
    assert fake_measure.asked[3:] == ["prefix, seed 0", "prefix, seed 1"]
    assert [(line["row"], line["runs"]) for line in lines_of(tmp_path / "out")] == [("full", 2), ("prefix", 2)]


def test_results_of_another_config_are_never_mixed_in(
    run: Callable[..., list[Path]], fake_measure: Any, tmp_path: Path
) -> None:
    run()
    fake_measure.metrics = {"bleu": 10.0}
    run(budget="6")
    assert len(fake_measure.asked) == 8
    assert [line["scores"][0]["mean"] for line in lines_of(tmp_path / "out")] == [10.5, 10.5]
    run()
    assert len(fake_measure.asked) == 8
    assert [line["scores"][0]["mean"] for line in lines_of(tmp_path / "out")] == [50.5, 50.5]


def test_one_failure_does_not_stop_the_others(
    run: Callable[..., list[Path]], fake_measure: Any, tmp_path: Path
) -> None:
    fake_measure.trouble = {1: TrainingError("a finite loss", "nan", "lower the rate")}
    with pytest.raises(TrainingError) as told:
        run()
    assert told.value.wanted == "all 4 results of table1"
    assert "full fine-tuning, seed 0" in told.value.got
    assert [(line["row"], line["runs"]) for line in lines_of(tmp_path / "out")] == [("full", 1), ("prefix", 2)]
    assert "Failed: full fine-tuning, seed 0" in (tmp_path / "out" / "table1.md").read_text()
    run()
    assert fake_measure.asked[4:] == ["full fine-tuning, seed 0"]


def test_a_metric_that_can_be_computed_by_now_is_asked_for(run: Callable[..., list[Path]], fake_measure: Any) -> None:
    run()
    fake_measure.metrics = {"bleu": 50.0, "meteor": 0.4}
    run(metrics=frozenset({"bleu", "meteor"}))
    assert len(fake_measure.asked) == 8


def test_two_runs_do_not_share_a_folder(run: Callable[..., list[Path]]) -> None:
    inner: list[WorkspaceError] = []

    def nested(_job: Any, _label: str) -> None:
        with pytest.raises(WorkspaceError) as told:
            run()
        inner.append(told.value)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(measure=nested)
    assert "another run" in inner[0].got
