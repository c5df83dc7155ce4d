from collections.abc import Callable
from dataclasses import replace

from components.reproduction.experiment_run import ExperimentOutcome
from components.reproduction.gather import gather_lines
from components.reproduction.notes import describe_setup, make_notes


def notes_of(outcome: ExperimentOutcome) -> list[str]:
    name = outcome.request.experiment.name
    return make_notes(outcome, gather_lines(name, outcome.data.task, outcome.points, outcome.results))


def test_the_setup_names_base_data_budget_and_seeds(make_outcome: Callable[..., ExperimentOutcome]) -> None:
    outcome = make_outcome("table1", budget="400", inputs=3)
    text = describe_setup(outcome, gather_lines("table1", "e2e", outcome.points, outcome.results))
    assert text.startswith(
        "Base little (2,048,000 parameters), data e2e (e2e, 2,600 training pairs), 3 of 8 test inputs"
    )
    assert "at most 400 steps a run, training seeds 0, 1. Measured on a bench." in text


def test_missing_and_failed_results_are_named(make_outcome: Callable[..., ExperimentOutcome]) -> None:
    whole = make_outcome("lowdata")
    partial = replace(
        whole, results=dict(list(whole.results.items())[:25]), failures={"prefix 50, seed 0": "no memory"}
    )
    assert f"{len(whole.results) - 25} results are not measured yet: run the same command again." in notes_of(partial)
    assert "Failed: prefix 50, seed 0: no memory." in notes_of(partial)
    assert not any("not measured yet" in note for note in notes_of(whole))


def test_intervals_and_the_best_length_of_the_paper_are_named(make_outcome: Callable[..., ExperimentOutcome]) -> None:
    assert "Intervals in brackets are 95 % over training seeds." in notes_of(make_outcome("table1"))
    assert "Intervals in brackets are 95 % over low-data samples." in notes_of(make_outcome("lowdata"))
    assert "The paper's best length for table-to-text: 10." in notes_of(make_outcome("length"))
