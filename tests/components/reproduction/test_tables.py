import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from components.reproduction.experiment_run import ExperimentOutcome
from components.reproduction.gather import TableLine, gather_lines
from components.reproduction.tables import format_csv, format_json, format_markdown


def lines_of(outcome: ExperimentOutcome) -> list[TableLine]:
    return gather_lines(outcome.request.experiment.name, outcome.data.task, outcome.points, outcome.results)


def markdown_of(outcome: ExperimentOutcome) -> str:
    return format_markdown(outcome, lines_of(outcome), "figure.png")


def test_a_table_has_the_published_figures_beside_the_measured(make_outcome: Callable[..., ExperimentOutcome]) -> None:
    text = markdown_of(make_outcome("table1"))
    assert "| method | BLEU · paper | NIST · paper |" in text
    row = next(line for line in text.splitlines() if line.startswith("| prefix |") and "·" in line)
    assert row.split("|")[2] == " 50.2 [47.1, 53.4] · 69.7 "
    assert "| base alone | 54.0 · - |" in text
    assert "![E2E: prefix-tuning beside the other methods](figure.png)" in text
    assert "95 % over training seeds" in text
    assert "2,048 | 0.10 %" in text


def test_csv_and_json_have_the_same_numbers(make_outcome: Callable[..., ExperimentOutcome]) -> None:
    outcome = make_outcome("table1")
    rows = list(csv.DictReader(io.StringIO(format_csv(outcome, lines_of(outcome)))))
    values = json.loads(format_json(outcome, lines_of(outcome)))
    (prefix,) = [row for row in rows if (row["row"], row["metric"]) == ("prefix", "bleu")]
    (line,) = [line for line in values["lines"] if line["row"] == "prefix"]
    assert float(prefix["mean"]) == line["scores"][0]["mean"] == 50.25
    assert (float(prefix["published"]), prefix["over"], prefix["runs"]) == (69.7, "seeds", "2")
    assert line["train"]["method"] == "prefix"
    assert len(line["results"]) == 2


@pytest.mark.parametrize(
    ("experiment", "options", "parts"),
    [
        ("table1", {}, ["NIST"]),
        ("table2", {}, ["### Seen", "### Unseen", "### All inputs", "TER · paper"]),
        ("table3", {}, ["ROUGE-1 · paper", "prefix 0.1 %"]),
        ("lowdata", {}, ["### Prefix minus full fine-tuning", "mean over sizes · paper", "+2.9"]),
        ("length", {}, ["The paper's best length for table-to-text: 10."]),
        ("init", {}, ["“elephant” (unrelated)", "random values"]),
        ("init", {"sizes": "50,100"}, ["| random values | 50 |"]),
        ("infix", {}, ["| embedding only | 10 |", "· 62.2"]),
        ("inputlength", {}, ["### Shortest quarter (0 to 2 source tokens)"]),
    ],
)
def test_every_experiment_has_its_table(
    make_outcome: Callable[..., ExperimentOutcome], experiment: str, options: dict[str, Any], parts: list[str]
) -> None:
    text = markdown_of(make_outcome(experiment, **options))
    for part in parts:
        assert part in text


def test_slices_by_length_are_in_rising_order_with_all_inputs_last(
    make_outcome: Callable[..., ExperimentOutcome],
) -> None:
    text = markdown_of(make_outcome("inputlength"))
    titles = ("Shortest quarter", "Second quarter", "Longest quarter", "All inputs")
    positions = [text.index(f"### {title}") for title in titles]
    assert positions == sorted(positions)
