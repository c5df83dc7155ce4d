"""Score a file of outputs against a test set's references with a published benchmark's metrics.

Works for the outputs of any system; knows no workspace, no base and no registry.
"""

import dataclasses
import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.errors import WorkspaceError
from components.evaluation.suites import (
    SuiteScore,
    UnavailableMetric,
    find_suite,
    find_unavailable_metrics,
    score_suite,
)
from components.evaluation.suites.alignment import align_outputs
from components.evaluation.suites.e2e import repair_cell
from components.evaluation.suites.references import References, read_references
from components.evaluation.suites.system_outputs import SystemOutputs, read_system_outputs
from components.storage.atomic_files import write_atomic


@dataclass(frozen=True, slots=True)
class ScoringResult:
    """The scores of a file of outputs, and how they were computed."""

    suite: str
    predictions: str
    references: tuple[str, ...]
    aligned_by: str
    n: int
    empty_predictions: int
    seconds: float
    scores: tuple[SuiteScore, ...]
    left_out: tuple[UnavailableMetric, ...]


def score_predictions(
    suite: str,
    predictions: Path,
    references: Sequence[Path] = (),
    *,
    metrics: Collection[str] | None = None,
    require_all: bool = False,
    column: str | None = None,
    reference_column: str | None = None,
    split: str = "test",
) -> ScoringResult:
    """Score the outputs in `predictions`; without `references` those are read from the same JSON lines.

    Raises:
        DataError: an unknown suite, metric, column or split, a file that cannot be read, or files that do not match.
        WorkspaceError: this machine cannot compute a metric, and it was named or `require_all` is set.

    """
    find_suite(suite)
    missing = find_unavailable_metrics(suite, metrics)
    if missing and require_all:
        raise WorkspaceError(f"every metric of {suite}", missing[0].why, missing[0].fix)
    outputs = read_system_outputs(predictions, column)
    targets = read_references(list(references) or [predictions], suite, reference_column, split)
    if suite == "e2e":
        outputs, targets = _repair_e2e(outputs, targets)
    aligned = align_outputs(outputs, targets)
    started = time.perf_counter()
    scores = score_suite(suite, aligned.predictions, aligned.references, aligned.slices, metrics=metrics)
    return ScoringResult(
        suite=suite,
        predictions=str(predictions),
        references=tuple(map(str, references or [predictions])),
        aligned_by=aligned.aligned_by,
        n=len(aligned.predictions),
        empty_predictions=sum(not text.strip() for text in aligned.predictions),
        seconds=round(time.perf_counter() - started, 2),
        scores=tuple(scores),
        left_out=tuple(missing),
    )


def write_scores(path: Path, scored: ScoringResult) -> None:
    """Write the scores as JSON, atomically.

    Raises:
        WorkspaceError: the file cannot be written.

    """
    write_atomic(path, (json.dumps(dataclasses.asdict(scored), ensure_ascii=False, indent=2) + "\n").encode())


def _repair_e2e(outputs: SystemOutputs, targets: References) -> tuple[SystemOutputs, References]:
    """Read the cells of tables with inputs as the official script does."""
    if outputs.inputs is not None:
        texts, inputs = list(map(repair_cell, outputs.texts)), list(map(repair_cell, outputs.inputs))
        outputs = dataclasses.replace(outputs, texts=texts, inputs=inputs)
    if targets.inputs is not None:
        groups, inputs = (
            [list(map(repair_cell, own)) for own in targets.texts],
            list(map(repair_cell, targets.inputs)),
        )
        targets = dataclasses.replace(targets, texts=groups, inputs=inputs)
    return outputs, targets
