"""Draw the figure of an experiment as PNG, without a display.

Measured points have 95 % intervals; the paper's figures are hollow diamonds. Knows the lines of a table; does not know
how they were measured.
"""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from components.data.schema import ALL_SLICE
from components.evaluation.suites import SUITE_METRIC_LABELS
from components.reproduction.experiment_run import ExperimentOutcome
from components.reproduction.gather import AggregateScore, TableLine
from components.reproduction.published import BEST_PREFIX_LENGTHS, PUBLISHED_LOW_DATA_GAIN
from components.reproduction.tables import compute_low_data_gains, find_main_metrics

_PUBLISHED_LABELS = {"summarisation": "paper, BART-large"}
_PUBLISHED_STYLE: dict[str, Any] = {"marker": "D", "markerfacecolor": "none", "markersize": 7, "linestyle": "none"}
_MEASURED_STYLE: dict[str, Any] = {"marker": "o", "capsize": 3, "markersize": 5}


def draw_figure(outcome: ExperimentOutcome, lines: Sequence[TableLine], target: BinaryIO) -> None:
    """Draw the experiment's figure as PNG into `target`."""
    experiment = outcome.request.experiment
    if experiment.slicing_by_length:
        figure = _draw_by_length(outcome, lines)
    elif experiment.name == "init" and len(outcome.request.sizes) == 1:
        figure = _draw_dots(outcome, lines)
    elif experiment.low_data:
        figure = _draw_curves(outcome, lines, "training examples")
    elif outcome.request.lengths:
        figure = _draw_curves(outcome, lines, "trained slots a layer")
    else:
        figure = _draw_dots(outcome, lines)
    figure.suptitle(f"{experiment.title}: {outcome.base.name}, {outcome.data.name}", fontsize=11)
    figure.savefig(target, dpi=120, format="png")


def _make_figure(width: float, height: float, columns: int, **more: Any) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False, **more)[0])


def _draw_dots(outcome: ExperimentOutcome, lines: Sequence[TableLine]) -> Any:
    """Draw a row for every method and a panel for every metric or slice."""
    metrics = find_main_metrics(outcome)
    parts = [part for part in ("seen", "unseen", ALL_SLICE) if lines[0].find_score(metrics[0], part)]
    panels = [(metric, part) for metric in metrics for part in parts]
    width, height = 3.0 + 3.4 * len(panels), 1.8 + 0.42 * len(lines)
    figure, all_axes = _make_figure(width, height, len(panels), sharey=True, sharex=len(metrics) == 1)
    rows = range(len(lines))
    for axes, (metric, part) in zip(all_axes, panels, strict=True):
        scores = [line.find_score(metric, part) for line in lines]
        _draw_points(axes, list(rows), scores, "measured", "C0", horizontal=True)
        published = [(row, one.published) for row, one in zip(rows, scores, strict=True) if one and one.published]
        if published:
            axes.plot(
                [value for _, value in published],
                [row for row, _ in published],
                color="C1",
                label=_find_published_label(outcome),
                **_PUBLISHED_STYLE,
            )
        axes.set(xlabel=_make_axis_label(metric), title=f"{part} categories" if part != ALL_SLICE else "all inputs")
        _set_axis_limits(
            axes.set_xlim, [score for line in lines for part in parts if (score := line.find_score(metric, part))]
        )
        axes.grid(axis="x", alpha=0.3)
    all_axes[0].set_yticks(list(rows), [line.point.label for line in lines])
    all_axes[0].invert_yaxis()
    _add_legend(figure, all_axes[0])
    return figure


def _draw_curves(outcome: ExperimentOutcome, lines: Sequence[TableLine], label: str) -> Any:
    """Draw a curve for every method over the varied quantity; for low data also a panel with the difference."""
    metric, gains = find_main_metrics(outcome)[0], compute_low_data_gains(outcome, lines)
    figure, all_axes = _make_figure(11 if gains else 7.5, 4.6, 2 if gains else 1)
    axes = all_axes[0]
    ticks = sorted({line.point.x for line in lines if line.point.x is not None})
    for number, row in enumerate(dict.fromkeys(line.point.row for line in lines)):
        own = [line for line in lines if line.point.row == row]
        scores, shift = [line.find_score(metric) for line in own], 1.0 + 0.02 * number
        positions = [shift * (line.point.x or 0) for line in own]
        _draw_points(axes, positions, scores, own[0].point.label, f"C{number}", line="-")
        published = [(x, one.published) for x, one in zip(positions, scores, strict=True) if one and one.published]
        if published:
            xs, values = zip(*published, strict=True)
            axes.plot(
                xs,
                values,
                color=f"C{number}",
                label=f"{own[0].point.label}, {_find_published_label(outcome)}",
                **_PUBLISHED_STYLE,
            )
    if outcome.request.experiment.name == "length":
        best = BEST_PREFIX_LENGTHS["summarisation" if outcome.data.task == "summarisation" else "table-to-text"]
        axes.axvline(best, linestyle="--", color="C1", label=f"best in the paper: {best}")
        ticks = sorted({*ticks, best})
    _set_log_axis(axes, ticks, label)
    axes.set(ylabel=_make_axis_label(metric))
    _set_axis_limits(axes.set_ylim, [score for line in lines if (score := line.find_score(metric))])
    if gains:
        difference = all_axes[1]
        _draw_points(difference, [size for size, _ in gains], [gain for _, gain in gains], "measured", "C2", line="-")
        if metric == "bleu":
            text = f"paper, mean of sizes and data sets: {PUBLISHED_LOW_DATA_GAIN:+.1f}"
            difference.axhline(PUBLISHED_LOW_DATA_GAIN, linestyle="--", color="C1", label=text)
        difference.axhline(0, color="0.6", linewidth=0.8)
        _set_log_axis(difference, [size for size, _ in gains], label)
        difference.set(ylabel=f"{SUITE_METRIC_LABELS[metric]} of prefix minus full (points, 95 % interval)")
        _set_axis_limits(
            difference.set_ylim,
            [gain for _, gain in gains],
            0.0,
            *([PUBLISHED_LOW_DATA_GAIN] if metric == "bleu" else []),
        )
        difference.legend(fontsize=9)
    _add_legend(figure, axes)
    return figure


def _draw_by_length(outcome: ExperimentOutcome, lines: Sequence[TableLine]) -> Any:
    """Draw a curve for every method over quarters of the inputs by length, and a panel for every metric."""
    metrics = find_main_metrics(outcome)
    bounds = next(
        outcome.results[cell.key].bounds for line in lines for cell in line.point.cells if cell.key in outcome.results
    )
    names = sorted(bounds, key=lambda name: bounds[name])
    figure, all_axes = _make_figure(1.0 + 3.9 * len(metrics), 4.4, len(metrics))
    for axes, metric in zip(all_axes, metrics, strict=True):
        for number, line in enumerate(lines):
            positions = [quarter + 0.06 * number for quarter in range(len(names))]
            scores = [line.find_score(metric, name) for name in names]
            _draw_points(axes, positions, scores, line.point.label, f"C{number}", line="-")
        ticks = [f"{name.split()[0]}\n{bounds[name][0]}-{bounds[name][1]}" for name in names]
        axes.set_xticks(range(len(names)), ticks)
        axes.set(xlabel="quarter of the inputs (source tokens)", ylabel=_make_axis_label(metric))
        _set_axis_limits(
            axes.set_ylim, [score for line in lines for name in names if (score := line.find_score(metric, name))]
        )
        axes.grid(alpha=0.3)
    _add_legend(figure, all_axes[0])
    return figure


def _draw_points(
    axes: Any,
    positions: Sequence[float],
    scores: Sequence[AggregateScore | None],
    label: str,
    color: str,
    *,
    horizontal: bool = False,
    line: str = "none",
) -> None:
    measured = [(position, score) for position, score in zip(positions, scores, strict=True) if score is not None]
    xs, values = [position for position, _ in measured], [score.mean for _, score in measured]
    ends = [
        [0.0 if score.low is None else max(0.0, score.mean - score.low) for _, score in measured],
        [0.0 if score.high is None else max(0.0, score.high - score.mean) for _, score in measured],
    ]
    if horizontal:
        axes.errorbar(values, xs, xerr=ends, color=color, label=label, linestyle=line, **_MEASURED_STYLE)
    else:
        axes.errorbar(xs, values, yerr=ends, color=color, label=label, linestyle=line, **_MEASURED_STYLE)


def _make_axis_label(metric: str) -> str:
    return f"{SUITE_METRIC_LABELS[metric]} (points, 95 % interval)"


def _find_published_label(outcome: ExperimentOutcome) -> str:
    return _PUBLISHED_LABELS.get(outcome.data.task, "paper, GPT-2 medium")


def _set_axis_limits(limit: Callable[[float, float], object], scores: Sequence[AggregateScore], *others: float) -> None:
    """Show all points, and cut whiskers at the range of the points: intervals over two runs are very wide."""
    points = [
        *others,
        *(score.mean for score in scores),
        *(one.published for one in scores if one.published is not None),
    ]
    ends = [end for score in scores for end in (score.low, score.high) if end is not None]
    least, most = min(points), max(points)
    reach = max(most - least, 2.0)
    low, high = max(least - reach, min([least, *ends])), min(most + reach, max([most, *ends]))
    limit(low - 0.05 * (high - low + 1), high + 0.05 * (high - low + 1))


def _set_log_axis(axes: Any, ticks: Sequence[int], label: str) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xticks(list(ticks), [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel=label)
    axes.grid(alpha=0.3)


def _add_legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if len(labels) > 4 else len(labels), fontsize=9)
