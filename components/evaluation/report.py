"""Reports: the scores of one prefix (or of the base alone) on one split, per slice, with intervals; and predictions.

A report is JSON; predictions are JSON lines, one for each example in the split's order. Does not know how the
predictions were decoded, nor the gate.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.config import EvaluateConfig, Metric, Tokenizer
from components.data.schema import ALL_SLICE, Example
from components.errors import DataError, GateError
from components.evaluation.bootstrap import bootstrap_interval
from components.evaluation.metrics import METRICS, compute_corpus_score, compute_sentence_statistics
from components.evaluation.self_check import compute_reference_statistics, has_full_marks
from components.evaluation.tokenization import resolve_tokenizer
from components.evaluation.whole_texts import is_json
from components.storage.atomic_files import write_atomic
from components.storage.json_text import parse_json

Subject = Literal["prefix", "base", "champion"]


class Score(BaseModel):
    """One metric on the `n` examples of one slice, in points, with the ends of its bootstrap interval.

    `low` and `high` are None if there are too few examples for an interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    metric: Metric
    value: float
    low: float | None
    high: float | None
    n: int

    def format_interval(self, digits: int) -> str:
        """Return ` [low, high]`, or an empty text without an interval."""
        if self.low is None or self.high is None:
            return ""
        return f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"


class Report(BaseModel):
    """The scores of one subject on one split; the slice "all" is the whole split and always exists.

    `tokenizer` made the words that were compared; None in reports of earlier releases. `reference_scores` has the
    metrics that give the references less than full marks against themselves, with that score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tenant: str
    subject: Subject
    split: str
    data_digest: str
    prefix_digest: str | None
    decoding: dict[str, Any]
    lowercase: bool
    tokenizer: Tokenizer | None = None
    reference_scores: dict[Metric, float] = Field(default_factory=dict)
    confidence: float
    slices: dict[str, list[Score]]

    def find_score(self, metric: Metric, slice_name: str = ALL_SLICE) -> Score:
        """Return the score of a metric on a slice.

        Raises:
            GateError: the report does not contain the slice or the metric.

        """
        for score in self.slices.get(slice_name, []):
            if score.metric == metric:
                return score
        raise GateError(
            f"{metric} on slice {slice_name!r}", f"no such score in {self.tenant}'s report", "evaluate again"
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """An example with the text that was generated for it."""

    source: str
    references: tuple[str, ...]
    slice: str | None
    prediction: str


class ReportWithPredictions(NamedTuple):
    """A report with the predictions that it was computed from."""

    report: Report
    predictions: Sequence[Prediction]


def find_slice_indices(slices: Sequence[str | None]) -> dict[str, list[int]]:
    """Return slice -> indices of its examples: "all" first, then the named slices in alphabetical order."""
    named = sorted({name for name in slices if name is not None})
    own = {name: [i for i, other in enumerate(slices) if other == name] for name in named}
    return {ALL_SLICE: list(range(len(slices))), **own}


def build_report(
    *,
    tenant: str,
    subject: Subject,
    examples: Sequence[Example],
    predictions: Sequence[str],
    config: EvaluateConfig,
    data_digest: str,
    prefix_digest: str | None,
    min_slice: int,
    metrics: Sequence[Metric] = METRICS,
) -> Report:
    """Score predictions, given in the order of their examples, on the whole split and per slice.

    `json_valid` is left out if no reference is JSON. Slices with fewer than `min_slice` examples have no intervals.

    Raises:
        DataError: the split is empty.
        GateError: the numbers of examples and predictions differ, or the tokenizer is not installed.

    """
    if not examples:
        raise DataError(f"examples in {tenant}'s {config.split} split", "none", f"add lines to {config.split}.jsonl")
    indices = find_slice_indices([example.slice for example in examples])
    references = [example.references for example in examples]
    tokenizer = resolve_tokenizer(config.tokenize, [text for own in references for text in own])
    slices: dict[str, list[Score]] = {name: [] for name in indices}
    reference_scores: dict[Metric, float] = {}
    has_json = any(is_json(text) for own in references for text in own)
    for metric in metrics:
        if metric == "json_valid" and not has_json:
            continue
        statistics_NK = compute_sentence_statistics(metric, predictions, references, config.lowercase, tokenizer)
        for name, rows in indices.items():
            own_NK = statistics_NK[rows]
            low, high = None, None
            if len(rows) >= min_slice:
                low, high = bootstrap_interval(metric, own_NK, config.bootstrap_samples, config.confidence, config.seed)
            value = compute_corpus_score(metric, own_NK)
            slices[name].append(Score(metric=metric, value=value, low=low, high=high, n=len(rows)))
        best_NK = compute_reference_statistics(metric, references, config.lowercase, tokenizer)
        if not has_full_marks(metric, score := compute_corpus_score(metric, best_NK)):
            reference_scores[metric] = score
    return Report(
        tenant=tenant,
        subject=subject,
        split=config.split,
        data_digest=data_digest,
        prefix_digest=prefix_digest,
        decoding=config.select_decoding(),
        lowercase=config.lowercase,
        tokenizer=tokenizer,
        reference_scores=reference_scores,
        confidence=config.confidence,
        slices=slices,
    )


def write_report(path: Path, report: Report) -> None:
    """Write a report as JSON, atomically."""
    write_atomic(path, (report.model_dump_json(indent=2) + "\n").encode())


def read_report(path: Path) -> Report:
    """Read a report.

    Raises:
        GateError: the file is missing or is not a report.

    """
    try:
        return Report.model_validate_json(_read_text(path))
    except ValidationError as problems:
        first = problems.errors()[0]
        got = ": ".join(filter(None, (str(path), ".".join(map(str, first["loc"])), first["msg"])))
        raise GateError("a report written by evaluate", got, "evaluate again") from None


def write_predictions(path: Path, examples: Sequence[Example], predictions: Sequence[str]) -> None:
    """Write one JSON line for each example, atomically."""
    lines = [
        json.dumps(
            {"source": one.source, "references": list(one.references), "slice": one.slice, "prediction": text},
            ensure_ascii=False,
        )
        for one, text in zip(examples, predictions, strict=True)
    ]
    write_atomic(path, "".join(line + "\n" for line in lines).encode())


def read_predictions(path: Path) -> list[Prediction]:
    """Read predictions in the order of their examples.

    Raises:
        GateError: the file is missing or a line is not a prediction.

    """
    return [
        _parse_prediction(line, path, number) for number, line in enumerate(_read_text(path).split("\n"), 1) if line
    ]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise GateError("a readable report and predictions", f"{path}: {problem}", "evaluate again") from None


def _parse_prediction(line: str, path: Path, number: int) -> Prediction:
    try:
        values = parse_json(line)
        return Prediction(values["source"], tuple(values["references"]), values["slice"], values["prediction"])
    except (ValueError, KeyError, TypeError) as problem:
        got = f"{path}:{number}: {type(problem).__name__} {problem}"
        raise GateError("a line with source, references, slice and prediction", got, "evaluate again") from None
