"""Small data sets in the published formats, a base in words, and a fake measurement of a cell."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.reproduction.cells import Cell, CellResult, MetricValue, write_result
from components.reproduction.plan import BaseFacts
from components.reproduction.worker import CellJob

PLACES = ("river", "park", "station", "market", "harbour", "bridge")


def write_e2e(folder: Path, train: int = 24, validation: int = 6, test: int = 8) -> Path:
    """E2E's CSV files; one reference an input."""
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for name, count in (("trainset", train), ("devset", validation), ("testset_w_refs", test)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("mr", "ref"))
            for number in range(start, start + count):
                place = PLACES[number % len(PLACES)]
                writer.writerow((f"name[Inn {number}], near[{place}]", f"Inn {number} is near the {place}."))
        start += count
    return folder


def write_dialogsum(folder: Path, splits: dict[str, int]) -> Path:
    """DialogSum's JSON lines; later dialogues are longer."""
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
    """A base of a thousand slots' values."""
    return BaseFacts("little", "b" * 64, 2_048_000, False, 256, 2048)


def result_of(cell: Cell, **scores: float) -> CellResult:
    """A result with these scores on all inputs."""
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


@pytest.fixture(name="result_of")
def _result_of() -> Callable[..., CellResult]:
    return result_of


class FakeMeasure:
    """Writes a result for every cell that it is asked for, unless told to fail or to be stopped there."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.trouble: dict[int, BaseException] = {}
        self.metrics = {"bleu": 50.0, "nist": 5.0}

    def __call__(self, job: CellJob, label: str) -> None:
        self.asked.append(label)
        if problem := self.trouble.get(len(self.asked)):
            raise problem
        seed = job.cell.seed
        write_result(job.out, result_of(job.cell, **{name: value + seed for name, value in self.metrics.items()}))


@pytest.fixture
def fake_measure() -> FakeMeasure:
    return FakeMeasure()
