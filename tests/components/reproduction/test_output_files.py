"""Tables and figures: measured beside published, and nothing of the machine that must not be in documentation."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.reproduction.cells import CellResult
from components.reproduction.experiment_run import ExperimentOutcome
from components.reproduction.output_files import write_experiment_files
from components.reproduction.plan import BaseFacts, plan_points
from components.reproduction.request import make_request
from components.reproduction.sources import PublishedDataset, read_published_dataset

PNG = b"\x89PNG\r\n\x1a\n"
SLICES = {
    "webnlg": ("seen", "unseen", "all"),
    "length": ("longest quarter", "second quarter", "shortest quarter", "all"),
}


@pytest.fixture
def outcome_of(
    tmp_path: Path,
    facts: BaseFacts,
    write_e2e: Callable[..., Path],
    write_dialogsum: Callable[..., Path],
    result_of: Callable[..., CellResult],
) -> Callable[..., ExperimentOutcome]:
    """A function of an experiment to an outcome with made-up scores, each cell's its own."""
    talk = read_published_dataset(
        str(write_dialogsum(tmp_path / "talk", {"train": 9, "dev": 3, "test": 12})), ["dialogsum"]
    )
    e2e = read_published_dataset(str(write_e2e(tmp_path / "e2e", train=2_600, validation=200)), ["e2e"])

    def make(experiment: str, **options: Any) -> ExperimentOutcome:
        data: PublishedDataset = talk if experiment in ("table3", "inputlength") else e2e
        if experiment == "table2":
            data = replace(data, kind="webnlg")
        base = replace(facts, is_encoder_decoder=data is talk, context=1024)
        request = make_request(
            experiment, base="/secret/place/little", data="/secret/place/e2e", preset="small", **options
        )
        points = plan_points(request, base, data)
        names = {"summarisation": ("rouge1", "rouge2", "rougeL"), "webnlg": ("bleu", "ter"), "e2e": ("bleu", "nist")}
        parts = SLICES["length"] if experiment == "inputlength" else SLICES.get(data.task, ("all",))
        results = {}
        for place, point in enumerate(points):
            for number, cell in enumerate(point.cells):
                first = result_of(cell, **dict.fromkeys(names[data.task], 40.0 + 2 * place + 0.5 * number))
                values = tuple(one.model_copy(update={"slice": part}) for one in first.values for part in parts)
                bounds = {part: (3 * order, 3 * order + 2) for order, part in enumerate(reversed(parts[:-1]))}
                results[cell.key] = first.model_copy(
                    update={"values": values, "bounds": bounds if experiment == "inputlength" else {}}
                )
        return ExperimentOutcome(request, base, data, tuple(points), results, {})

    return make


def test_a_table_has_the_published_figures_beside_the_measured(
    outcome_of: Callable[..., ExperimentOutcome], tmp_path: Path
) -> None:
    files = write_experiment_files(outcome_of("table1"), tmp_path / "out")
    text = files[0].read_text()
    assert "| method | BLEU · paper | NIST · paper |" in text
    row = next(line for line in text.splitlines() if line.startswith("| prefix |") and "·" in line)
    assert row.split("|")[2] == " 50.2 [47.1, 53.4] · 69.7 "
    assert "| base alone | 54.0 · - |" in text
    assert "![E2E: prefix-tuning beside the other methods](table1.png)" in text
    assert "95 % over training seeds" in text
    assert "2,048 | 0.10 %" in text


def test_csv_and_json_say_the_same(outcome_of: Callable[..., ExperimentOutcome], tmp_path: Path) -> None:
    files = write_experiment_files(outcome_of("table1"), tmp_path / "out")
    rows = list(csv.DictReader(io.StringIO(files[1].read_text())))
    values = json.loads(files[2].read_text())
    (prefix,) = [row for row in rows if (row["row"], row["metric"]) == ("prefix", "bleu")]
    (line,) = [line for line in values["lines"] if line["row"] == "prefix"]
    assert float(prefix["mean"]) == line["scores"][0]["mean"] == 50.25
    assert (float(prefix["published"]), prefix["over"], prefix["runs"]) == (69.7, "seeds", "2")
    assert line["train"]["method"] == "prefix"
    assert len(line["results"]) == 2


@pytest.mark.parametrize(
    ("experiment", "options", "wants"),
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
def test_every_experiment_has_its_table_and_figure(
    outcome_of: Callable[..., ExperimentOutcome],
    tmp_path: Path,
    experiment: str,
    options: dict[str, Any],
    wants: list[str],
) -> None:
    files = write_experiment_files(outcome_of(experiment, **options), tmp_path / "out")
    text = files[0].read_text()
    for want in wants:
        assert want in text
    picture = files[3].read_bytes()
    assert picture.startswith(PNG)
    assert len(picture) > 10_000
    for file in files[:3]:
        assert "/secret" not in file.read_text()


def test_a_partial_outcome_says_what_is_missing(outcome_of: Callable[..., ExperimentOutcome], tmp_path: Path) -> None:
    whole = outcome_of("lowdata")
    some = dict(list(whole.results.items())[:25])
    files = write_experiment_files(
        ExperimentOutcome(whole.request, whole.base, whole.data, whole.points, some, {}), tmp_path / "out"
    )
    assert f"{len(whole.results) - 25} results are not measured yet" in files[0].read_text()


def test_quarters_stand_from_the_shortest_to_the_longest_and_all_inputs_last(
    outcome_of: Callable[..., ExperimentOutcome], tmp_path: Path
) -> None:
    text = write_experiment_files(outcome_of("inputlength"), tmp_path / "out")[0].read_text()
    places = [
        text.index(f"### {name}") for name in ("Shortest quarter", "Second quarter", "Longest quarter", "All inputs")
    ]
    assert places == sorted(places)
