"""Small data sets in the published formats, the properties of a base, made-up results, and a fake measurement."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.reproduction.cells import Cell, CellResult, MetricValue, write_result
from components.reproduction.experiment_run import ExperimentOutcome, read_base_facts
from components.reproduction.plan import BaseFacts, plan_points
from components.reproduction.request import make_request
from components.reproduction.sources import PublishedDataset, read_published_dataset
from components.reproduction.worker import CellJob

_LANDMARKS = ("river", "park", "station", "market", "harbour", "bridge")


def write_e2e(folder: Path, train: int = 24, validation: int = 6, test: int = 8) -> Path:
    """Write E2E's CSV files with one reference for each input."""
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for name, count in (("trainset", train), ("devset", validation), ("testset_w_refs", test)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("mr", "ref"))
            for number in range(start, start + count):
                near = _LANDMARKS[number % len(_LANDMARKS)]
                writer.writerow((f"name[Inn {number}], near[{near}]", f"Inn {number} is near the {near}."))
        start += count
    return folder


def write_dialogsum(folder: Path, splits: dict[str, int]) -> Path:
    """Write DialogSum's JSON lines; later dialogues are longer."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in splits.items():
        lines = [
            {"dialogue": "#A: hello. " * (1 + number), "summary": f"They say hello {number} times."}
            for number in range(count)
        ]
        (folder / f"dialogsum.{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def e2e(tmp_path: Path) -> Path:
    return write_e2e(tmp_path / "e2e")


@pytest.fixture(name="write_e2e")
def _write_e2e() -> Callable[..., Path]:
    return write_e2e


@pytest.fixture(name="write_dialogsum")
def _write_dialogsum() -> Callable[..., Path]:
    return write_dialogsum


@pytest.fixture
def facts() -> BaseFacts:
    """A decoder-only base with as many parameters as a thousand slots have values."""
    return BaseFacts("little", "b" * 64, 2_048_000, False, 256, 2048)


def make_result(cell: Cell, **scores: float) -> CellResult:
    """Make a result with these scores on all inputs."""
    values = tuple(MetricValue(metric=metric, slice="all", value=value, n=8) for metric, value in scores.items())
    return CellResult(
        cell=cell,
        values=values,
        trained=2048,
        steps=cell.train.max_steps if cell.train else 0,
        best_step=0,
        validation_loss=1.0,
        train_seconds=3.0,
        decode_seconds=1.5,
        peak_train_mib=300.0,
        peak_mib=320.0,
        machine="a bench",
    )


@pytest.fixture(name="make_result")
def _make_result() -> Callable[..., CellResult]:
    return make_result


class FakeMeasure:
    """Writes a result for every cell that it measures; `errors` has the errors to raise by the number of the call."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.errors: dict[int, BaseException] = {}
        self.metrics = {"bleu": 50.0, "nist": 5.0}

    def __call__(self, job: CellJob, label: str) -> None:
        self.labels.append(label)
        if error := self.errors.get(len(self.labels)):
            raise error
        seed = job.cell.seed
        write_result(job.out, make_result(job.cell, **{name: value + seed for name, value in self.metrics.items()}))


@pytest.fixture
def fake_measure() -> FakeMeasure:
    return FakeMeasure()


SLICES = {
    "webnlg": ("seen", "unseen", "all"),
    "length": ("longest quarter", "second quarter", "shortest quarter", "all"),
}


@pytest.fixture
def make_outcome(tmp_path: Path, facts: BaseFacts) -> Callable[..., ExperimentOutcome]:
    """A function that makes the outcome of an experiment with made-up scores, different for each cell."""
    dialogues = write_dialogsum(tmp_path / "dialogues", {"train": 9, "dev": 3, "test": 12})
    dialogsum = read_published_dataset(str(dialogues), ["dialogsum"])
    e2e = read_published_dataset(str(write_e2e(tmp_path / "e2e", train=2_600, validation=200)), ["e2e"])

    def make(experiment: str, **options: Any) -> ExperimentOutcome:
        data: PublishedDataset = dialogsum if experiment in ("table3", "inputlength") else e2e
        if experiment == "table2":
            data = replace(data, kind="webnlg")
        base = replace(facts, is_encoder_decoder=data is dialogsum, context=1024)
        request = make_request(
            experiment, base="/secret/folder/little", data="/secret/folder/e2e", preset="small", **options
        )
        points = plan_points(request, base, data)
        metrics = {"summarisation": ("rouge1", "rouge2", "rougeL"), "webnlg": ("bleu", "ter"), "e2e": ("bleu", "nist")}
        slices = SLICES["length"] if experiment == "inputlength" else SLICES.get(data.task, ("all",))
        results = {}
        for row, point in enumerate(points):
            for number, cell in enumerate(point.cells):
                plain = make_result(cell, **dict.fromkeys(metrics[data.task], 40.0 + 2 * row + 0.5 * number))
                values = tuple(one.model_copy(update={"slice": name}) for one in plain.values for name in slices)
                bounds = {name: (3 * order, 3 * order + 2) for order, name in enumerate(reversed(slices[:-1]))}
                results[cell.key] = plain.model_copy(
                    update={"values": values, "bounds": bounds if experiment == "inputlength" else {}}
                )
        return ExperimentOutcome(request, base, data, tuple(points), results, {})

    return make


@pytest.fixture
def make_job(tiny_base: Path, tmp_path: Path) -> Callable[..., CellJob]:
    """A function that makes the job of `length` with 8 slots on summaries (whose metrics need no Java)."""

    def make(budget: str = "4") -> CellJob:
        dialogues = write_dialogsum(tmp_path / "dialogues", {"train": 240, "dev": 4, "test": 4})
        data = read_published_dataset(str(dialogues), ["dialogsum"])
        options = {"preset": "small", "lengths": "8", "seeds": "0", "budget": budget}
        request = make_request("length", base="b", data="d", inputs=2, **options)
        cell = plan_points(request, read_base_facts(str(tiny_base)), data)[0].cells[0]
        return CellJob(cell=cell, base=str(tiny_base), data=str(dialogues), kind="dialogsum", out=tmp_path / "out")

    return make
