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
from components.data.schema import ALL_SLICE
from components.errors import PrefixFleetError, TrainingError
from components.reproduction.cells import Cell, CellResult, read_result
from components.reproduction.plan import BaseFacts, TablePoint, plan_points
from components.reproduction.process import measure_in_subprocess
from components.reproduction.request import ExperimentRequest
from components.reproduction.sources import PublishedDataset, read_published_dataset
from components.reproduction.worker import CellJob
from components.stages.progress import log_info, log_warning
from components.storage.atomic_files import hold_file_lock, write_atomic

CellMeasurer = Callable[[CellJob, str], None]
"""Measures a job's cell; the label is for progress. On return the cell's result lies in the job's folder."""


@dataclass(frozen=True, slots=True)
class ExperimentOutcome:
    """What a run leaves: its points with the results that there are, and what failed."""

    request: ExperimentRequest
    base: BaseFacts
    data: PublishedDataset
    points: tuple[TablePoint, ...]
    results: dict[str, CellResult]
    """By the cells' keys."""
    failures: dict[str, str]
    """Label of a cell -> why."""

    @property
    def missing_count(self) -> int:
        """Cells without a result."""
        return sum(cell.key not in self.results for point in self.points for cell in point.cells)


def reproduce(
    request: ExperimentRequest,
    out: Path,
    *,
    read_facts: Callable[[str], BaseFacts],
    find_metrics: Callable[[str], frozenset[str]],
    write_files: Callable[[ExperimentOutcome, Path], list[Path]],
    measure_job: CellMeasurer = measure_in_subprocess,
) -> list[Path]:
    """Measure what is missing and write the tables and the figure into `out`; the files written.

    `read_facts` opens a base, `find_metrics` names what can be computed here of a suite, `write_files` writes tables
    and figure.

    Raises:
        DataError, BaseModelError, ConfigError: nothing of the request can be run.
        TrainingError: some cells failed; the others' results are in the tables.
        WorkspaceError: another run works in `out`, or the disk does not take the files.
    """
    data = read_published_dataset(request.data, request.experiment.dataset_kinds)
    base = read_facts(request.base)
    points = plan_points(request, base, data)
    for note in data.notes:
        log_info(note)
    with _lock_output_folder(out):
        outcome = ExperimentOutcome(request, base, data, tuple(points), {}, {})
        _measure_missing_cells(
            outcome, out, measure_job, find_metrics(points[0].cells[0].suite), lambda: write_files(outcome, out)
        )
        written = write_files(outcome, out) if outcome.results else []
    if outcome.failures:
        label, why = next(iter(outcome.failures.items()))
        wanted = f"all {outcome.missing_count + len(outcome.results)} results of {request.experiment.name}"
        raise TrainingError(
            wanted, f"{len(outcome.failures)} failed, the first {label}: {why}", "mend it and run again"
        )
    return written


def read_base_facts(path: str) -> BaseFacts:
    """Open a base, look at it and let it go again. Raises BaseModelError."""
    from components.model.base.load import load_base

    base = load_base(BaseConfig(path=path), device="cpu")
    slots = sum(2 * site.layers * site.kv_heads * site.head_dim for site in base.shape.sites.values())
    return BaseFacts(base.name, base.digest, base.parameter_count, base.is_encoder_decoder, base.context, slots)


def find_computable_metrics(suite: str) -> frozenset[str]:
    """The metrics of a suite that this machine can compute."""
    from components.evaluation.suites import find_suite, find_unavailable_metrics

    return frozenset(find_suite(suite).variants) - {one.metric for one in find_unavailable_metrics(suite)}


def _measure_missing_cells(
    outcome: ExperimentOutcome, out: Path, measure: CellMeasurer, metrics: frozenset[str], save: Callable[[], object]
) -> None:
    request = outcome.request
    todo: dict[str, tuple[TablePoint, Cell]] = {}
    for point in outcome.points:
        for cell in point.cells:
            result = read_result(out, cell)
            if result is not None:
                outcome.results[cell.key] = result
            if result is None or not metrics <= {value.metric for value in result.values}:
                todo[cell.key] = (point, cell)
    cells = {cell.key for point in outcome.points for cell in point.cells}
    log_info(
        f"{request.experiment.name}: {len(cells)} results, {len(cells) - len(todo)} are there, {len(todo)} to measure"
    )
    for number, (point, cell) in enumerate(todo.values(), start=1):
        label = make_cell_label(point, cell)
        log_info(f"{number} of {len(todo)}: {label}")
        job = CellJob(cell=cell, base=request.base, data=request.data, kind=outcome.data.kind, out=out)
        try:
            measure(job, label)
        except PrefixFleetError as problem:
            outcome.failures[label] = str(problem)
            log_warning(f"{label}: {problem}")
            continue
        done = read_result(out, cell)
        if done is None:
            raise AssertionError(f"{label} was measured and left no result")
        outcome.results[cell.key] = done
        save()
        took = f"trained in {done.train_seconds:.0f} s, " if done.steps else ""
        log_info(
            f"  {_format_scores(done)}; {took}decoded in {done.decode_seconds:.0f} s, peak {done.peak_mib:.0f} MiB"
        )


def make_cell_label(point: TablePoint, cell: Cell) -> str:
    """A cell in words: its row, what the experiment varies, its sample and seed."""
    of = "" if point.x is None else f" {point.x}"
    sample = "" if cell.sample is None else f", sample {cell.sample + 1}"
    return f"{point.label}{of}{sample}{f', seed {cell.seed}' if cell.train else ''}"


def _format_scores(result: CellResult) -> str:
    return ", ".join(f"{value.metric} {value.value:.4g}" for value in result.values if value.slice == ALL_SLICE)


@contextmanager
def _lock_output_folder(out: Path) -> Iterator[None]:
    with hold_file_lock(out / "work" / "lock", out, "wait, or name another --out"):
        write_atomic(out / "work" / ".gitignore", b"*\n")
        yield
