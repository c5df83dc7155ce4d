"""Tables of a reproduction: markdown for people, CSV and JSON for programs. Pure: lines in, text out.

Measured figures stand as `value [low, high]`, and after `·` what the paper prints. Names of data and base are those of
their files, never paths, so that the text can be put into documentation as it is.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from components.evaluation.suites import LABELS
from components.reproduction.gather import Line, Score, differences
from components.reproduction.notes import notes, told_how
from components.reproduction.published import LOW_DATA_GAIN, scale
from components.reproduction.run import Outcome

_CSV = (
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
_DIGITS = {"nist": 2, "cider": 2, "meteor": 3, "ter": 3, "rouge1": 2, "rouge2": 2, "rougeL": 2}
_PRINTED = {"meteor": 2, "ter": 2}


def markdown(outcome: Outcome, lines: Sequence[Line], picture: str) -> str:
    """The whole section: how it was made, scores for each slice, costs, notes and the figure."""
    parts = [f"## {outcome.request.experiment.title}", told_how(outcome, lines), f"![{_alt(outcome)}]({picture})"]
    names = _slices(outcome, lines)
    for name in names:
        if len(names) > 1:
            parts.append(f"### {_slice_title(outcome, name)}")
        parts.append(_scores(outcome, lines, name))
    if gains := low_data_gains(outcome, lines):
        parts += ["### Prefix minus full fine-tuning", _gains(gains, outcome.data.task)]
    parts += ["### Costs", _costs(outcome, lines), "\n".join(f"- {note}" for note in notes(outcome, lines))]
    return "\n\n".join(parts) + "\n"


def as_csv(outcome: Outcome, lines: Sequence[Line]) -> str:
    """One row for every score."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        point = {"experiment": outcome.request.experiment.name, "row": line.point.row, "label": line.point.label}
        for score in line.scores:
            writer.writerow({**point, "x": "" if line.point.x is None else line.point.x, **asdict(score)})
    return text.getvalue()


def as_json(outcome: Outcome, lines: Sequence[Line]) -> str:
    """Everything that the tables say, with the keys of the results that it comes from."""
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
        "lines": [_json_line(outcome, line) for line in lines],
        "gains": [{"size": size, **asdict(score)} for size, score in low_data_gains(outcome, lines)],
        "failed": outcome.failed,
        "missing": outcome.missing,
        "notes": notes(outcome, lines),
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def low_data_gains(outcome: Outcome, lines: Sequence[Line]) -> list[tuple[int, Score]]:
    """Prefix minus full fine-tuning by size, run by run, in the main metric; empty for other experiments."""
    if outcome.request.experiment.name != "lowdata":
        return []
    at = {(line.point.row, line.point.x): line for line in lines}
    metric = main_metrics(outcome)[0]
    found = []
    for size in outcome.request.sizes:
        pair = at.get(("prefix", size)), at.get(("full", size))
        if pair[0] and pair[1] and (gain := differences(pair[0], pair[1], outcome.results, metric)):
            found.append((size, gain))
    return found


def main_metrics(outcome: Outcome) -> tuple[str, ...]:
    """What figures show: BLEU, or the three ROUGE of summaries with ROUGE-L first."""
    return ("rougeL", "rouge1", "rouge2") if outcome.data.task == "summarisation" else ("bleu",)


def _scores(outcome: Outcome, lines: Sequence[Line], name: str) -> str:
    metrics = list(dict.fromkeys(score.metric for line in lines for score in line.scores if score.slice == name))
    printed = {
        metric: any((one := line.score(metric, name)) and one.published is not None for line in lines)
        for metric in metrics
    }
    header = [
        *_place_columns(outcome),
        *(LABELS[metric] + (" · paper" if printed[metric] else "") for metric in metrics),
    ]
    rows = [
        [
            *_place(outcome, line),
            *(_cell(line.score(metric, name), outcome.data.task, paper=printed[metric]) for metric in metrics),
        ]
        for line in lines
    ]
    return _grid(header, rows)


def _gains(gains: Sequence[tuple[int, Score]], task: str) -> str:
    header = ["training examples", f"{LABELS[gains[0][1].metric]} prefix - full", "runs"]
    rows = [[f"{size:,}", _cell(gain, task, paper=False, sign="+"), str(gain.runs)] for size, gain in gains]
    mean = sum(gain.mean for _, gain in gains) / len(gains)
    paper = f" · {LOW_DATA_GAIN:+.1f}" if gains[0][1].metric == "bleu" else ""
    return _grid(header, [*rows, ["mean over sizes" + (" · paper" if paper else ""), f"{mean:+.1f}{paper}", ""]])


def _costs(outcome: Outcome, lines: Sequence[Line]) -> str:
    gpu = any(line.peak_gpu_mib is not None for line in lines)
    header = [*_place_columns(outcome), "trained values", "share of base", "steps", "training s", "decoding s"]
    header += ["peak MiB, training", "peak MiB"] + (["GPU MiB, training", "GPU MiB"] if gpu else []) + ["runs"]
    rows = []
    for line in lines:
        share = f"{100 * line.trained / outcome.base.parameters:.2f} %" if line.trained else "-"
        cells = [*_place(outcome, line), f"{line.trained:,}" if line.trained else "-", share, f"{line.steps:,.0f}"]
        cells += [f"{line.train_seconds:,.1f}", f"{line.decode_seconds:,.1f}"]
        cells += [f"{line.peak_train_mib:,.0f}", f"{line.peak_mib:,.0f}"]
        if gpu:
            cells += ["-" if peak is None else f"{peak:,.0f}" for peak in (line.peak_gpu_train_mib, line.peak_gpu_mib)]
        rows.append([*cells, str(line.runs)])
    return _grid(header, rows)


def _place_columns(outcome: Outcome) -> list[str]:
    if outcome.request.experiment.low_data:
        return ["start" if outcome.request.experiment.name == "init" else "method", "training examples"]
    return ["method", "slots"] if outcome.request.lengths else ["method"]


def _place(outcome: Outcome, line: Line) -> list[str]:
    return [line.point.label] if len(_place_columns(outcome)) == 1 else [line.point.label, f"{line.point.x:,}"]


def _cell(score: Score | None, task: str, *, paper: bool, sign: str = "") -> str:
    """`mean [low, high]`, and what the paper prints, with as many digits as it does (rates with one more)."""
    if score is None:
        return "-"
    digits = _DIGITS.get(score.metric, 1) if scale(task, score.metric) == 1 else 1
    text = f"{score.mean:{sign}.{digits}f}"
    if score.low is not None and score.high is not None:
        text += f" [{score.low:{sign}.{digits}f}, {score.high:{sign}.{digits}f}]"
    printed = min(digits, _PRINTED.get(score.metric, digits))
    return f"{text} · {'-' if score.published is None else f'{score.published:.{printed}f}'}" if paper else text


def _slices(outcome: Outcome, lines: Sequence[Line]) -> list[str]:
    """Slices as they were scored; those of input lengths from the shortest, and all inputs last."""
    names = list(dict.fromkeys(score.slice for line in lines for score in line.scores))
    bounds = next((result.bounds for result in outcome.results.values() if result.bounds), {})
    return sorted(names, key=lambda name: bounds.get(name, (0, 0)) if name != "all" else (1 << 60, 0))


def _slice_title(outcome: Outcome, name: str) -> str:
    for result in outcome.results.values():
        if name in result.bounds:
            least, greatest = result.bounds[name]
            return f"{name.capitalize()} ({least:,} to {greatest:,} source tokens)"
    return "All inputs" if name == "all" else name.capitalize()


def _json_line(outcome: Outcome, line: Line) -> dict[str, Any]:
    values = asdict(line)
    del values["point"]
    point = line.point
    keys = [cell.key for cell in point.cells if cell.key in outcome.results]
    train = point.cells[0].train
    settings = None if train is None else train.model_dump(mode="json", exclude={"seed"})
    return {"row": point.row, "label": point.label, "x": point.x, **values, "train": settings, "results": keys}


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def _alt(outcome: Outcome) -> str:
    return outcome.request.experiment.title
