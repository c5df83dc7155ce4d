"""Running a request: every cell without a result is measured, and after each the tables and the figure are written.

One cell that fails does not stop the others; it is told, left out of the tables, and tried again next time. Whatever
ends the run, what has been measured is in the tables, and the next run goes on from there. Does not know how a cell is
measured: that is handed in.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.config import BaseConfig
from components.errors import PrefixFleetError, TrainingError
from components.reproduction.cells import Cell, Result, read_result
from components.reproduction.plan import BaseFacts, Point, plan
from components.reproduction.process import measure_apart
from components.reproduction.request import Request
from components.reproduction.sources import Data, read_data
from components.reproduction.worker import Job
from components.stages.progress import tell, warn
from components.storage.atomic_files import alone, write_atomic

Measure = Callable[[Job, str], None]
"""Measures a job's cell; the label is for progress. On return the cell's result lies in the job's folder."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run leaves: its points with the results that there are, and what failed."""

    request: Request
    base: BaseFacts
    data: Data
    points: tuple[Point, ...]
    results: dict[str, Result]
    """By the cells' keys."""
    failed: dict[str, str]
    """Label of a cell -> why."""

    @property
    def missing(self) -> int:
        """Cells without a result."""
        return sum(cell.key not in self.results for point in self.points for cell in point.cells)


def reproduce(
    request: Request,
    out: Path,
    *,
    facts: Callable[[str], BaseFacts],
    metrics: Callable[[str], frozenset[str]],
    write: Callable[[Outcome, Path], list[Path]],
    measure: Measure = measure_apart,
) -> list[Path]:
    """Measure what is missing and write the tables and the figure into `out`; the files written.

    `facts` opens a base, `metrics` names what can be computed here of a suite, `write` writes tables and figure.

    Raises:
        DataError, BaseModelError, ConfigError: nothing of the request can be run.
        TrainingError: some cells failed; the others' results are in the tables.
        WorkspaceError: another run works in `out`, or the disk does not take the files.
    """
    data = read_data(request.data, request.experiment.kinds)
    base = facts(request.base)
    points = plan(request, base, data)
    for note in data.notes:
        tell(note)
    with _alone_in(out):
        outcome = Outcome(request, base, data, tuple(points), {}, {})
        _measure_all(outcome, out, measure, metrics(points[0].cells[0].suite), lambda: write(outcome, out))
        written = write(outcome, out) if outcome.results else []
    if outcome.failed:
        label, why = next(iter(outcome.failed.items()))
        wanted = f"all {outcome.missing + len(outcome.results)} results of {request.experiment.name}"
        raise TrainingError(wanted, f"{len(outcome.failed)} failed, the first {label}: {why}", "mend it and run again")
    return written


def base_facts(path: str) -> BaseFacts:
    """Open a base, look at it and let it go again. Raises BaseModelError."""
    from components.model.base.load import load_base

    base = load_base(BaseConfig(path=path), device="cpu")
    slots = sum(2 * site.layers * site.kv_heads * site.head_dim for site in base.shape.sites.values())
    return BaseFacts(base.name, base.digest, base.parameters, base.is_encoder_decoder, base.context, slots)


def computable(suite: str) -> frozenset[str]:
    """The metrics of a suite that this machine can compute."""
    from components.evaluation.suites import left_out, named_suite

    return frozenset(named_suite(suite).variants) - {one.metric for one in left_out(suite)}


def _measure_all(
    outcome: Outcome, out: Path, measure: Measure, metrics: frozenset[str], save: Callable[[], object]
) -> None:
    request = outcome.request
    todo: dict[str, tuple[Point, Cell]] = {}
    for point in outcome.points:
        for cell in point.cells:
            result = read_result(out, cell)
            if result is not None:
                outcome.results[cell.key] = result
            if result is None or not metrics <= {value.metric for value in result.values}:
                todo[cell.key] = (point, cell)
    cells = {cell.key for point in outcome.points for cell in point.cells}
    tell(f"{request.experiment.name}: {len(cells)} results, {len(cells) - len(todo)} are there, {len(todo)} to measure")
    for number, (point, cell) in enumerate(todo.values(), start=1):
        label = label_of(point, cell)
        tell(f"{number} of {len(todo)}: {label}")
        job = Job(cell=cell, base=request.base, data=request.data, kind=outcome.data.kind, out=out)
        try:
            measure(job, label)
        except PrefixFleetError as problem:
            outcome.failed[label] = str(problem)
            warn(f"{label}: {problem}")
            continue
        done = read_result(out, cell)
        if done is None:
            raise AssertionError(f"{label} was measured and left no result")
        outcome.results[cell.key] = done
        save()
        took = f"trained in {done.train_seconds:.0f} s, " if done.steps else ""
        tell(f"  {_scores(done)}; {took}decoded in {done.decode_seconds:.0f} s, peak {done.peak_mib:.0f} MiB")


def label_of(point: Point, cell: Cell) -> str:
    """A cell in words: its row, what the experiment varies, its sample and seed."""
    of = "" if point.x is None else f" {point.x}"
    sample = "" if cell.sample is None else f", sample {cell.sample + 1}"
    return f"{point.label}{of}{sample}{f', seed {cell.seed}' if cell.train else ''}"


def _scores(result: Result) -> str:
    return ", ".join(f"{value.metric} {value.value:.4g}" for value in result.values if value.slice == "all")


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    with alone(out / "work" / "lock", out, "wait, or name another --out"):
        write_atomic(out / "work" / ".gitignore", b"*\n")
        yield
