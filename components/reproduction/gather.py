"""Compute the numbers of a table from results: means over runs with intervals, costs, and the published figures.

Intervals are 95 %. Over several runs they are Student's t. With several low-data samples, the runs of a sample (which
differ in their seed) are averaged first and the interval is over the samples, since runs on one sample are not
independent. A single run has the bootstrap interval over its test inputs, if the metric has one. Does no I/O.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from components.data.schema import ALL_SLICE
from components.reproduction.cells import Cell, CellResult, MetricValue
from components.reproduction.plan import TablePoint
from components.reproduction.published import find_published, find_unit_scale

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom; 1.96 beyond.
# fmt: off
_STUDENT_T_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on

IntervalSource = Literal["samples", "seeds", "inputs", "none"]


@dataclass(frozen=True, slots=True)
class AggregateScore:
    """One metric on one slice of one point, in the paper's unit."""

    metric: str
    slice: str
    mean: float
    low: float | None
    high: float | None
    spread: float | None
    """Standard deviation over the values that the interval is over; None for a single run."""
    over: IntervalSource
    """The values that the interval is over."""
    runs: int
    published: float | None


@dataclass(frozen=True, slots=True)
class TableLine:
    """One point with its measurements."""

    point: TablePoint
    scores: tuple[AggregateScore, ...]
    trained: int
    steps: float
    train_seconds: float
    """Mean of the runs, like `decode_seconds`."""
    decode_seconds: float
    peak_train_mib: float
    """Maximum of the runs, like the other peaks."""
    peak_mib: float
    peak_gpu_train_mib: float | None
    peak_gpu_mib: float | None
    runs: int

    def find_score(self, metric: str, part: str = ALL_SLICE) -> AggregateScore | None:
        """Return the score of a metric on a slice, or None if there is none."""
        return next((one for one in self.scores if (one.metric, one.slice) == (metric, part)), None)


def gather_lines(
    experiment: str, task: str, points: Sequence[TablePoint], results: dict[str, CellResult]
) -> list[TableLine]:
    """Return a line for every point that has at least one result."""
    lines = []
    for point in points:
        done = [(cell, results[cell.key]) for cell in point.cells if cell.key in results]
        if done:
            lines.append(_make_line(f"{experiment} {task}", point, done))
    return lines


def compute_difference(
    first: TableLine, second: TableLine, results: dict[str, CellResult], metric: str
) -> AggregateScore | None:
    """Return first minus second in one metric on all inputs, over the samples and seeds that both have."""
    by_run = []
    for line in (first, second):
        runs = {(cell.sample, cell.seed): results.get(cell.key) for cell in line.point.cells}
        by_run.append({run: _find_value(result, metric) for run, result in runs.items() if result is not None})
    both = [(run, a - b) for run, a in by_run[0].items() if a is not None and (b := by_run[1].get(run)) is not None]
    if not both:
        return None
    suite = first.point.cells[0].suite
    return _aggregate_score(
        metric, ALL_SLICE, [(sample, value) for (sample, _), value in both], find_unit_scale(suite, metric), None, None
    )


def compute_student_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of at least two independent values."""
    freedom = len(values) - 1
    quantile = _STUDENT_T_QUANTILES[freedom - 1] if freedom <= len(_STUDENT_T_QUANTILES) else 1.96
    mean, half = statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def _make_line(published_table: str, point: TablePoint, done: Sequence[tuple[Cell, CellResult]]) -> TableLine:
    results = [result for _, result in done]
    scores = []
    for first in results[0].values:
        values = [
            (cell.sample, value)
            for cell, result in done
            for value in result.values
            if (value.metric, value.slice) == (first.metric, first.slice)
        ]
        factor = find_unit_scale(point.cells[0].suite, first.metric)
        published = find_published(published_table, point.published_row, first.metric, first.slice)
        plain = [(sample, value.value) for sample, value in values]
        scores.append(_aggregate_score(first.metric, first.slice, plain, factor, published, values[0][1]))
    return TableLine(
        point=point,
        scores=tuple(scores),
        trained=results[0].trained,
        steps=statistics.fmean(result.steps for result in results),
        train_seconds=statistics.fmean(result.train_seconds for result in results),
        decode_seconds=statistics.fmean(result.decode_seconds for result in results),
        peak_train_mib=max(result.peak_train_mib for result in results),
        peak_mib=max(result.peak_mib for result in results),
        peak_gpu_train_mib=_find_maximum([result.peak_gpu_train_mib for result in results]),
        peak_gpu_mib=_find_maximum([result.peak_gpu_mib for result in results]),
        runs=len(results),
    )


def _aggregate_score(
    metric: str,
    part: str,
    values: Sequence[tuple[int | None, float]],
    factor: float,
    published: float | None,
    single: MetricValue | None,
) -> AggregateScore:
    samples = sorted({sample for sample, _ in values if sample is not None})
    means = [statistics.fmean(value for own, value in values if own == sample) for sample in samples]
    over: IntervalSource = "samples" if len(samples) > 1 else "seeds"
    counted = [factor * value for value in (means if over == "samples" else [value for _, value in values])]
    low, high, spread = None, None, None
    if len(counted) > 1:
        low, high = compute_student_interval(counted)
        spread = statistics.stdev(counted)
    elif single is not None and single.low is not None and single.high is not None:
        over, low, high = "inputs", factor * single.low, factor * single.high
    else:
        over = "none"
    return AggregateScore(metric, part, statistics.fmean(counted), low, high, spread, over, len(values), published)


def _find_value(result: CellResult, metric: str) -> float | None:
    return next((one.value for one in result.values if (one.metric, one.slice) == (metric, ALL_SLICE)), None)


def _find_maximum(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
