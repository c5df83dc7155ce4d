"""Run an experiment: measure every cell that has no result, and write the tables and the figure after each.

A cell that fails does not stop the others: it is logged, left out of the tables, and tried again in the next run. When
a run is interrupted, the tables contain all results so far and the next run continues from there. Does not know how a
cell is measured: the caller passes the function.
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
"""(job, label for progress) -> None; on return the result of the job's cell is in the job's folder."""


@dataclass(frozen=True, slots=True)
class ExperimentOutcome:
    """The points of a run with the results so far, and the cells that failed."""

    request: ExperimentRequest
    base: BaseFacts
    data: PublishedDataset
    points: tuple[TablePoint, ...]
    results: dict[str, CellResult]
    """Key of a cell -> its result."""
    failures: dict[str, str]
    """Label of a cell -> its error."""

    @property
    def missing_count(self) -> int:
        """Number of cells without a result."""
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
    """Measure the missing cells, write the tables and the figure into `out` and return the paths of the files.

    `read_facts` reads the properties of a base, `find_metrics` returns the metrics of a suite that this machine can
    compute, `write_files` writes the tables and the figure.

    Raises:
        DataError, BaseModelError, ConfigError: the request cannot be run at all.
        TrainingError: some cells failed; the results of the others are in the tables.
        WorkspaceError: another run uses `out`, or a file cannot be written.
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
            wanted, f"{len(outcome.failures)} failed, the first {label}: {why}", "fix the cause and run again"
        )
    return written


def read_base_facts(path: str) -> BaseFacts:
    """Load a base on the CPU and return its properties. Raises BaseModelError if it cannot be loaded."""
    from components.model.base.load import load_base

    base = load_base(BaseConfig(path=path), device="cpu")
    slots = sum(site.size for site in base.shape.sites.values())
    return BaseFacts(base.name, base.digest, base.parameter_count, base.is_encoder_decoder, base.context, slots)


def find_computable_metrics(suite: str) -> frozenset[str]:
    """Return the metrics of a suite that this machine can compute."""
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
        f"{request.experiment.name}: {len(cells)} results, {len(cells) - len(todo)} measured before, "
        f"{len(todo)} to measure"
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
            raise AssertionError(f"{label} was measured without writing a result")
        outcome.results[cell.key] = done
        save()
        training = f"trained in {done.train_seconds:.0f} s, " if done.steps else ""
        log_info(
            f"  {_format_scores(done)}; {training}decoded in {done.decode_seconds:.0f} s, peak {done.peak_mib:.0f} MiB"
        )


def make_cell_label(point: TablePoint, cell: Cell) -> str:
    """Describe a cell by its row, the varied quantity, its sample and its seed."""
    x = "" if point.x is None else f" {point.x}"
    sample = "" if cell.sample is None else f", sample {cell.sample + 1}"
    return f"{point.label}{x}{sample}{f', seed {cell.seed}' if cell.train else ''}"


def _format_scores(result: CellResult) -> str:
    return ", ".join(f"{value.metric} {value.value:.4g}" for value in result.values if value.slice == ALL_SLICE)


@contextmanager
def _lock_output_folder(out: Path) -> Iterator[None]:
    with hold_file_lock(out / "work" / "lock", out, "wait for it, or pass another --out"):
        write_atomic(out / "work" / ".gitignore", b"*\n")
        yield
