"""Measure one cell in this process: train, decode and score. Does not know files or other cells.

Memory is the peak resident set of this process, so the process must do nothing else: `components.reproduction.worker`
runs one cell in its own process. With a GPU, the peak memory of its tensors is measured too.
"""

import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from components.config import Metric, TrainConfig
from components.data.schema import ALL_SLICE, Example
from components.reproduction.cells import Cell, CellResult, MetricValue
from components.reproduction.sampling import assign_length_quarters
from components.reproduction.sources import PublishedDataset

ProgressCallback = Callable[[str, int, int, str], None]
"""(kind of work, units done, units in all, note)"""

_DECODE_BATCH_SIZE = 16
_BOOTSTRAP_SAMPLES, _CONFIDENCE = 1000, 0.95
_MAX_SCORE_DIFFERENCE = 0.5
"""Points by which the resampled score may differ from the suite's for its interval to be used."""


@dataclass(frozen=True, slots=True)
class CellFunctions:
    """The functions that train, decode and score; tests pass small ones."""

    fit: Callable[..., Any]
    generate: Callable[..., list[str]]
    make_decoding: Callable[..., Any]
    score: Callable[..., Sequence[Any]]


def make_cell_functions() -> CellFunctions:
    """Return the project's own training, decoding and scoring."""
    from components.evaluation.suites import score_suite
    from components.model.decoding import Decoding, generate_text
    from components.training.prepare import fit

    return CellFunctions(fit, generate_text, Decoding, score_suite)


def measure_cell(
    cell: Cell, base: Any, data: PublishedDataset, functions: CellFunctions, state: Path, on_progress: ProgressCallback
) -> tuple[CellResult, list[str]]:
    """Train, decode and score one cell; return its result and the generated texts.

    Training is saved in the folder `state` and resumes from there.

    Raises:
        DataError: an example with the prefix exceeds the base's context.
        TrainingError: the loss is not finite.
        BaseModelError: the base does not support the method.
    """
    train, validation = data.select_training(cell.size, cell.sample, cell.largest)
    run = (
        None if cell.train is None else _train(cell, cell.train, base, train, validation, functions, state, on_progress)
    )
    peak_train, gpu_train = read_peak_mib(), _read_peak_gpu_mib()
    examples = data.select_test_inputs(cell.inputs)
    started = time.monotonic()
    predictions = _decode(cell, base, run and run.delta, examples, functions, on_progress)
    decode_seconds = time.monotonic() - started
    peak, gpu = read_peak_mib(), _read_peak_gpu_mib()
    values, bounds = score_cell(cell, base, examples, predictions, functions)
    result = CellResult(
        cell=cell,
        values=tuple(values),
        trained=run.delta.parameter_count if run else 0,
        steps=run.steps if run else 0,
        best_step=run.best_step if run else 0,
        resumed_from=run.resumed_from if run else 0,
        validation_loss=run.validation_loss if run and run.steps else None,
        train_seconds=run.seconds if run and run.steps else 0.0,
        decode_seconds=decode_seconds,
        peak_train_mib=peak_train,
        peak_mib=peak,
        peak_gpu_train_mib=gpu_train,
        peak_gpu_mib=gpu,
        bounds=bounds,
        machine=describe_machine(),
    )
    return result, predictions


def rescore(
    result: CellResult, base: Any, data: PublishedDataset, predictions: Sequence[str], functions: CellFunctions
) -> CellResult:
    """Score the saved predictions again; return the result with all metrics that this machine has the tools for."""
    values, bounds = score_cell(result.cell, base, data.select_test_inputs(result.cell.inputs), predictions, functions)
    return result.model_copy(update={"values": tuple(values), "bounds": bounds})


def score_cell(
    cell: Cell, base: Any, examples: Sequence[Example], predictions: Sequence[str], functions: CellFunctions
) -> tuple[list[MetricValue], dict[str, tuple[int, int]]]:
    """Score every metric of the cell's suite on every slice; for slices by length also return their length bounds."""
    slices: list[str | None] = [example.slice for example in examples]
    bounds: dict[str, tuple[int, int]] = {}
    if cell.slicing == "length":
        encoded = base.tokenizer([example.source for example in examples], add_special_tokens=False, verbose=False)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        slices = list(assign_length_quarters(lengths))
        for name, length in zip(slices, lengths, strict=True):
            least, greatest = bounds.get(str(name), (length, length))
            bounds[str(name)] = (min(least, length), max(greatest, length))
    references = [example.references for example in examples]
    scores = functions.score(cell.suite, predictions, references, slices)
    values = []
    for one in scores:
        rows = [row for row, name in enumerate(slices) if one.slice in (ALL_SLICE, name)]
        ends = compute_input_interval(
            cell.suite, one.metric, one.value, [predictions[row] for row in rows], [references[row] for row in rows]
        )
        low, high = ends or (None, None)
        values.append(
            MetricValue(
                metric=one.metric, slice=one.slice, value=one.value, n=one.n, variant=one.variant, low=low, high=high
            )
        )
    return values, bounds


def compute_input_interval(
    suite: str, metric: str, value: float, predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, float] | None:
    """Return the ends of a 95 % bootstrap confidence interval in points, resampling the inputs; or None.

    The resampled score is this project's BLEU or ROUGE, on the suite's tokens. Return None for other metrics,
    for the E2E suite's ROUGE-L, and if that score differs from `value`, the suite's score, by more than half a point.
    """
    from components.evaluation.bootstrap import bootstrap_interval
    from components.evaluation.metrics import compute_corpus_score, compute_sentence_statistics
    from components.evaluation.tokenization import resolve_tokenizer

    if metric not in ("bleu", "rouge1", "rouge2", "rougeL") or (suite == "e2e" and metric == "rougeL"):
        return None
    own, (texts, targets) = cast(Metric, metric), _tokenize_for_suite(suite, predictions, references)
    tokenizer = resolve_tokenizer("auto", (text for each in targets for text in each))
    statistics_NK = compute_sentence_statistics(own, texts, targets, True, tokenizer)
    if not np.isclose(compute_corpus_score(own, statistics_NK), value, rtol=0, atol=_MAX_SCORE_DIFFERENCE):
        return None
    return bootstrap_interval(own, statistics_NK, _BOOTSTRAP_SAMPLES, _CONFIDENCE, seed=0)


def _tokenize_for_suite(
    suite: str, predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    from components.evaluation.suites.triples import split_ascii_words, split_words

    if suite not in ("webnlg", "dart"):
        return predictions, references
    fold = split_ascii_words if suite == "webnlg" else split_words
    return [fold(text) for text in predictions], [[fold(text) for text in own[:3]] for own in references]


def _train(
    cell: Cell,
    config: TrainConfig,
    base: Any,
    train: Sequence[Example],
    validation: Sequence[Example],
    functions: CellFunctions,
    state: Path,
    on_progress: ProgressCallback,
) -> Any:
    def log(step: int, metrics: dict[str, float]) -> None:
        on_progress("training", step, config.max_steps, f"validation loss {metrics['validation_loss']:.3f}")

    return functions.fit(
        base,
        config,
        train,
        validation,
        state=state,
        run_key=cell.run_key,
        log=log,
        stop=lambda: False,
        name="the data set",
    )


def _decode(
    cell: Cell,
    base: Any,
    delta: Any,
    examples: Sequence[Example],
    functions: CellFunctions,
    on_progress: ProgressCallback,
) -> list[str]:
    done = 0

    def on_batch(rows: int) -> None:
        nonlocal done
        done += rows
        on_progress("decoding", done, len(examples), "")

    return functions.generate(
        base,
        delta,
        [example.source for example in examples],
        functions.make_decoding(**cell.decoding.model_dump()),
        _DECODE_BATCH_SIZE,
        on_batch,
        max_source_tokens=cell.max_source_tokens,
    )


def read_peak_mib() -> float:
    """Return the peak resident memory of this process so far, in MiB.

    On Linux it is VmHWM, which belongs to this program; `ru_maxrss`, used on other systems, may include the parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _read_peak_gpu_mib() -> float | None:
    import torch

    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None


def describe_machine() -> str:
    """Return the device, the number of threads and the versions of torch and Python on one line."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    threads = torch.get_num_threads()
    threads_text = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{device}, {threads_text}, torch {torch.__version__}, Python {platform.python_version()}"
