"""The real thing on a tiny base: a worker a cell, killed and resumed, through the command."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from components.errors import DataError, TrainingError
from components.reproduction.cells import read_result
from components.reproduction.experiment_run import read_base_facts
from components.reproduction.plan import plan_points
from components.reproduction.process import measure_in_subprocess
from components.reproduction.request import make_request
from components.reproduction.sources import read_published_dataset
from components.reproduction.worker import CellJob
from components.training.checkpoint import read_saved_step

pytestmark = pytest.mark.slow


@pytest.fixture
def talk(tmp_path: Path, write_dialogsum: Callable[..., Path]) -> Path:
    return write_dialogsum(tmp_path / "talk", {"train": 240, "dev": 4, "test": 4})


@pytest.fixture
def job_of(tiny_base: Path, talk: Path, tmp_path: Path) -> Callable[..., CellJob]:
    """A function of a budget to the job of the one cell of `length` with 8 slots, on summaries (which need no Java)."""

    def make(budget: str = "4") -> CellJob:
        asked = {"preset": "small", "lengths": "8", "seeds": "0", "budget": budget, "inputs": 2}
        data = read_published_dataset(str(talk), ["dialogsum"])
        points = plan_points(make_request("length", base="b", data="d", **asked), read_base_facts(str(tiny_base)), data)
        cell = points[0].cells[0]
        return CellJob(cell=cell, base=str(tiny_base), data=str(talk), kind="dialogsum", out=tmp_path / "out")

    return make


def command(job: CellJob, budget: str) -> list[str]:
    asked = ["--preset", "small", "--lengths", "8", "--seeds", "0", "--inputs", "2", "--budget", budget]
    return ["reproduce", "length", "--base", job.base, "--data", job.data, *asked, "--out", str(job.out)]


def test_table1_is_measured_by_the_command(tiny_base: Path, e2e: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["--preset", "small", "--only", "prefix,in-context", "--seeds", "0", "--inputs", "2", "--budget", "4"]
    done = CliRunner().invoke(
        app, ["reproduce", "table1", "--base", str(tiny_base), "--data", str(e2e), *asked, "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(out / f"table1.{kind}") for kind in ("md", "csv", "json", "png")]
    lines = json.loads((out / "table1.json").read_text())["lines"]
    assert [(line["row"], line["steps"], line["trained"]) for line in lines] == [
        ("prefix", 4, 20 * 2 * 2 * 16),
        ("in-context", 0, 0),
    ]
    assert {score["metric"] for score in lines[0]["scores"]} >= {"bleu", "nist"}
    for kind in ("md", "csv", "json"):
        assert str(tmp_path) not in (out / f"table1.{kind}").read_text()


def test_a_cell_leaves_its_result_and_its_texts_and_no_state(job_of: Callable[..., CellJob]) -> None:
    job = job_of()
    measure_in_subprocess(job, "the cell")
    first = read_result(job.out, job.cell)
    assert first is not None
    assert (first.cell, first.steps, first.trained) == (job.cell, 4, 8 * 2 * 2 * 16)
    assert 100 < first.peak_train_mib <= first.peak_mib
    assert first.train_seconds > 0
    assert len(job.predictions_path.read_text().splitlines()) == 2
    assert not job.state_folder.exists()
    path = job.out / "cells" / f"{job.cell.key}.json"
    path.write_text(first.model_copy(update={"values": first.values[:1], "train_seconds": 77.0}).model_dump_json())
    measure_in_subprocess(job, "the cell")
    again = read_result(job.out, job.cell)
    assert again is not None, "scored again, not trained again"
    assert (again.values, again.train_seconds) == (first.values, 77.0)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_in_training_goes_on_where_it_was(
    job_of: Callable[..., CellJob], tmp_path: Path, by: signal.Signals
) -> None:
    job = job_of(budget="800")
    arguments = [sys.executable, "-m", "cli.main", *command(job, "800")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            arguments,
            stderr=log,
            process_group=0,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's children ignore it
        )
        _wait_for(lambda: read_saved_step(job.state_folder, job.cell.run_key) > 0)
        process.send_signal(by)
        code = process.wait(60)
    assert code == (-by if by is signal.SIGKILL else 130)
    _wait_for(lambda: not _alive(job))
    step = read_saved_step(job.state_folder, job.cell.run_key)
    assert 0 < step < 800
    assert read_result(job.out, job.cell) is None
    assert (b"the same command goes on from there" in (tmp_path / "log").read_bytes()) == (by is signal.SIGINT)
    measure_in_subprocess(job, "the cell")
    result = read_result(job.out, job.cell)
    assert result is not None
    assert (result.resumed_from, result.steps) == (step, 800)


def test_what_a_worker_cannot_do_is_told_as_its_own_error(job_of: Callable[..., CellJob], tmp_path: Path) -> None:
    job = job_of()
    with pytest.raises(DataError):
        measure_in_subprocess(job.model_copy(update={"data": str(tmp_path / "gone")}), "the cell")


def test_a_worker_that_dies_is_told(job_of: Callable[..., CellJob], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TrainingError) as told:
        measure_in_subprocess(job_of(), "the cell")
    assert "exit code 1" in told.value.got


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["table3"], "a data set of dialogsum or xsum"),
        (["table2"], "e2e data at"),
        (["table1", "--only", "prefixes"], "did you mean 'prefix'?"),
        (["table1", "--base", "no/such/base/there"], "no such folder"),
        (["table9"], "table1"),
    ],
)
def test_a_mistake_is_told_in_three_beats(options: list[str], says: str, tiny_base: Path, e2e: Path) -> None:
    base = [] if "--base" in options else ["--base", str(tiny_base)]
    done = CliRunner().invoke(app, ["reproduce", *options, *base, "--data", str(e2e)])
    assert done.exit_code == 2
    assert says in done.output
    assert "fix:" in done.output


def _wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 400
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _alive(job: CellJob) -> bool:
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(job.work_folder) in (entry / "cmdline").read_text():
                return True
        except OSError:
            continue
    return False
