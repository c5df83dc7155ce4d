"""Format the tables of a reproduction: markdown to read, CSV and JSON for programs. Does no I/O.

Measured figures are written as `value [low, high]`, followed by `·` and the paper's figure. Data and base have their
files' names and no path, so that the text can be copied into documentation.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from components.data.schema import ALL_SLICE
from components.evaluation.suites import SUITE_METRIC_LABELS
from components.reproduction.experiment_run import ExperimentOutcome
from components.reproduction.gather import AggregateScore, TableLine, compute_difference
from components.reproduction.notes import describe_setup, make_notes
from components.reproduction.published import PUBLISHED_LOW_DATA_GAIN, find_unit_scale

_CSV_COLUMNS = (
    "experiment",
    "row",
    "label",
    "x",
    "metric",
    "slice",
    "mean",
    "low",
    "high",
    "over",
    "spread",
    "runs",
    "published",
)
_MEASURED_DIGITS = {"nist": 2, "cider": 2, "meteor": 3, "ter": 3, "rouge1": 2, "rouge2": 2, "rougeL": 2}
_PUBLISHED_DIGITS = {"meteor": 2, "ter": 2}


def format_markdown(outcome: ExperimentOutcome, lines: Sequence[TableLine], picture: str) -> str:
    """Format the whole section: setup, figure, scores for each slice, costs and notes."""
    parts = [
        f"## {outcome.request.experiment.title}",
        describe_setup(outcome, lines),
        f"![{_make_alt_text(outcome)}]({picture})",
    ]
    names = _sort_slices(outcome, lines)
    for name in names:
        if len(names) > 1:
            parts.append(f"### {_make_slice_title(outcome, name)}")
        parts.append(_format_score_table(outcome, lines, name))
    if gains := compute_low_data_gains(outcome, lines):
        parts += ["### Prefix minus full fine-tuning", _format_gain_table(gains, outcome.data.task)]
    parts += [
        "### Costs",
        _format_cost_table(outcome, lines),
        "\n".join(f"- {note}" for note in make_notes(outcome, lines)),
    ]
    return "\n\n".join(parts) + "\n"


def format_csv(outcome: ExperimentOutcome, lines: Sequence[TableLine]) -> str:
    """Format one row for every score."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        point = {"experiment": outcome.request.experiment.name, "row": line.point.row, "label": line.point.label}
        for score in line.scores:
            writer.writerow({**point, "x": "" if line.point.x is None else line.point.x, **asdict(score)})
    return text.getvalue()


def format_json(outcome: ExperimentOutcome, lines: Sequence[TableLine]) -> str:
    """Format all numbers of the tables, with the keys of the results that they were computed from."""
    request = outcome.request
    values = {
        "experiment": request.experiment.name,
        "preset": request.preset,
        "budget": "paper" if request.budget is None else request.budget,
        "seeds": request.seeds,
        "samples": request.samples if request.experiment.low_data else None,
        "inputs": request.inputs,
        "base": asdict(outcome.base),
        "data": {"kind": outcome.data.kind, "name": outcome.data.name, "digest": outcome.data.digest},
        "lines": [_to_json_line(outcome, line) for line in lines],
        "gains": [{"size": size, **asdict(score)} for size, score in compute_low_data_gains(outcome, lines)],
        "failed": outcome.failures,
        "missing": outcome.missing_count,
        "notes": make_notes(outcome, lines),
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def compute_low_data_gains(outcome: ExperimentOutcome, lines: Sequence[TableLine]) -> list[tuple[int, AggregateScore]]:
    """Return size and prefix minus full fine-tuning in the main metric; empty unless the experiment is `lowdata`."""
    if outcome.request.experiment.name != "lowdata":
        return []
    by_row = {(line.point.row, line.point.x): line for line in lines}
    metric = find_main_metrics(outcome)[0]
    gains = []
    for size in outcome.request.sizes:
        prefix, full = by_row.get(("prefix", size)), by_row.get(("full", size))
        if prefix and full and (gain := compute_difference(prefix, full, outcome.results, metric)):
            gains.append((size, gain))
    return gains


def find_main_metrics(outcome: ExperimentOutcome) -> tuple[str, ...]:
    """Return the metrics of the figures: BLEU, or for summaries ROUGE-L, ROUGE-1 and ROUGE-2."""
    return ("rougeL", "rouge1", "rouge2") if outcome.data.task == "summarisation" else ("bleu",)


def _format_score_table(outcome: ExperimentOutcome, lines: Sequence[TableLine], name: str) -> str:
    metrics = list(dict.fromkeys(score.metric for line in lines for score in line.scores if score.slice == name))
    has_published = {
        metric: any((one := line.find_score(metric, name)) and one.published is not None for line in lines)
        for metric in metrics
    }
    header = [
        *_make_label_header(outcome),
        *(SUITE_METRIC_LABELS[metric] + (" · paper" if has_published[metric] else "") for metric in metrics),
    ]
    rows = [
        [
            *_make_label_cells(outcome, line),
            *(
                _format_score(line.find_score(metric, name), outcome.data.task, paper=has_published[metric])
                for metric in metrics
            ),
        ]
        for line in lines
    ]
    return _format_table(header, rows)


def _format_gain_table(gains: Sequence[tuple[int, AggregateScore]], task: str) -> str:
    header = ["training examples", f"{SUITE_METRIC_LABELS[gains[0][1].metric]} prefix - full", "runs"]
    rows = [[f"{size:,}", _format_score(gain, task, paper=False, sign="+"), str(gain.runs)] for size, gain in gains]
    mean = sum(gain.mean for _, gain in gains) / len(gains)
    paper = f" · {PUBLISHED_LOW_DATA_GAIN:+.1f}" if gains[0][1].metric == "bleu" else ""
    return _format_table(
        header, [*rows, ["mean over sizes" + (" · paper" if paper else ""), f"{mean:+.1f}{paper}", ""]]
    )


def _format_cost_table(outcome: ExperimentOutcome, lines: Sequence[TableLine]) -> str:
    gpu = any(line.peak_gpu_mib is not None for line in lines)
    header = [*_make_label_header(outcome), "trained values", "share of base", "steps", "training s", "decoding s"]
    header += ["peak MiB, training", "peak MiB"] + (["GPU MiB, training", "GPU MiB"] if gpu else []) + ["runs"]
    rows = []
    for line in lines:
        share = f"{100 * line.trained / outcome.base.parameters:.2f} %" if line.trained else "-"
        cells = [
            *_make_label_cells(outcome, line),
            f"{line.trained:,}" if line.trained else "-",
            share,
            f"{line.steps:,.0f}",
        ]
        cells += [f"{line.train_seconds:,.1f}", f"{line.decode_seconds:,.1f}"]
        cells += [f"{line.peak_train_mib:,.0f}", f"{line.peak_mib:,.0f}"]
        if gpu:
            cells += ["-" if peak is None else f"{peak:,.0f}" for peak in (line.peak_gpu_train_mib, line.peak_gpu_mib)]
        rows.append([*cells, str(line.runs)])
    return _format_table(header, rows)


def _make_label_header(outcome: ExperimentOutcome) -> list[str]:
    if outcome.request.experiment.low_data:
        return ["start" if outcome.request.experiment.name == "init" else "method", "training examples"]
    return ["method", "slots"] if outcome.request.lengths else ["method"]


def _make_label_cells(outcome: ExperimentOutcome, line: TableLine) -> list[str]:
    return [line.point.label] if len(_make_label_header(outcome)) == 1 else [line.point.label, f"{line.point.x:,}"]


def _format_score(score: AggregateScore | None, task: str, *, paper: bool, sign: str = "") -> str:
    """Format `mean [low, high]` and the paper's figure with the paper's number of digits (rates with one more)."""
    if score is None:
        return "-"
    digits = _MEASURED_DIGITS.get(score.metric, 1) if find_unit_scale(task, score.metric) == 1 else 1
    text = f"{score.mean:{sign}.{digits}f}"
    if score.low is not None and score.high is not None:
        text += f" [{score.low:{sign}.{digits}f}, {score.high:{sign}.{digits}f}]"
    if not paper:
        return text
    published_digits = min(digits, _PUBLISHED_DIGITS.get(score.metric, digits))
    return f"{text} · {'-' if score.published is None else f'{score.published:.{published_digits}f}'}"


def _sort_slices(outcome: ExperimentOutcome, lines: Sequence[TableLine]) -> list[str]:
    """Return the slices in the order of scoring, slices by length from the shortest; all inputs are last."""
    names = list(dict.fromkeys(score.slice for line in lines for score in line.scores))
    bounds = next((result.bounds for result in outcome.results.values() if result.bounds), {})
    return sorted(names, key=lambda name: bounds.get(name, (0, 0)) if name != ALL_SLICE else (1 << 60, 0))


def _make_slice_title(outcome: ExperimentOutcome, name: str) -> str:
    for result in outcome.results.values():
        if name in result.bounds:
            least, greatest = result.bounds[name]
            return f"{name.capitalize()} ({least:,} to {greatest:,} source tokens)"
    return "All inputs" if name == ALL_SLICE else name.capitalize()


def _to_json_line(outcome: ExperimentOutcome, line: TableLine) -> dict[str, Any]:
    values = asdict(line)
    del values["point"]
    point = line.point
    keys = [cell.key for cell in point.cells if cell.key in outcome.results]
    train = point.cells[0].train
    settings = None if train is None else train.model_dump(mode="json", exclude={"seed"})
    return {"row": point.row, "label": point.label, "x": point.x, **values, "train": settings, "results": keys}


def _format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def _make_alt_text(outcome: ExperimentOutcome) -> str:
    return outcome.request.experiment.title
