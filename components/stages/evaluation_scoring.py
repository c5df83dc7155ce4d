"""Scores one subject's predictions and keeps them with the report and a stamp.

If only settings of the scoring changed, kept predictions are scored again, without decoding. Does not know how
predictions are decoded, or which subjects a tenant has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.config import GateConfig, Params
from components.data.schema import Example
from components.evaluation.metrics import METRIC_LABELS
from components.evaluation.report import (
    Report,
    ReportWithPredictions,
    Subject,
    build_report,
    read_predictions,
    read_report,
    write_predictions,
    write_report,
)
from components.stages.progress import log_info, log_warning
from components.stages.stamps import STAMP_FILE, is_up_to_date, read_json, write_stamp

REPORT_FILE = "report.json"
PREDICTIONS_FILE = "predictions.jsonl"
_RESULT_FILES = (REPORT_FILE, PREDICTIONS_FILE)
_SCORING_SETTINGS = frozenset({"lowercase", "tokenize", "bootstrap_samples", "confidence"})
"""Keys of the section `evaluate` that change scores and no prediction."""


@dataclass(frozen=True, kw_only=True)
class ScoredSubject:
    """What a score is of, and the folder where it is kept."""

    tenant: str
    subject: Subject
    folder: Path
    params: Params
    data_digest: str
    base_digest: str
    prefix_digest: str | None
    max_source_tokens: int | None

    def make_stamp_inputs(self) -> dict[str, Any]:
        """Return the inputs of the results."""
        return {
            "subject": self.subject,
            "prefix_digest": self.prefix_digest,
            "data_digest": self.data_digest,
            "base_digest": self.base_digest,
            "evaluate": self.params.evaluate.model_dump(mode="json"),
            "min_slice": self.params.gate.min_slice,
            "max_source_tokens": self.max_source_tokens,
            **({"gated": gated} if (gated := _find_newer_metrics(self.params.gate)) else {}),
        }

    def write_results(self, examples: Sequence[Example], predictions: Sequence[str]) -> None:
        """Score the predictions and write report, predictions and stamp.

        Raises:
            GateError: the tokenizer of the metrics is not installed.
            WorkspaceError: the disk is full.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        report = self._build_report(examples, predictions)
        write_predictions(self.folder / PREDICTIONS_FILE, examples, predictions)
        self._write_report(report)

    def is_up_to_date(self, hash_file: Callable[[Path], str | None]) -> bool:
        """Return whether the folder holds this score. Predictions that need only scoring are scored again first.

        Raises:
            GateError: the tokenizer of the metrics is not installed, or the kept predictions are damaged.

        """
        inputs = self.make_stamp_inputs()
        if is_up_to_date(self.folder, inputs, hash_file):
            return True
        stamp = read_json(self.folder / STAMP_FILE)
        if not isinstance(stamp, dict) or _drop_scoring(stamp.get("inputs") or {}) != _drop_scoring(inputs):
            return False
        if not is_up_to_date(self.folder, stamp["inputs"], hash_file):
            return False
        kept = read_predictions(self.folder / PREDICTIONS_FILE)
        examples = [Example(one.source, one.references, one.slice) for one in kept]
        self._write_report(self._build_report(examples, [one.prediction for one in kept]))
        log_info(f"{self.tenant}: scored the kept predictions ({self.subject}) again: the scoring settings changed")
        return True

    def _build_report(self, examples: Sequence[Example], predictions: Sequence[str]) -> Report:
        return build_report(
            tenant=self.tenant,
            subject=self.subject,
            examples=examples,
            predictions=predictions,
            config=self.params.evaluate,
            data_digest=self.data_digest,
            prefix_digest=self.prefix_digest,
            min_slice=self.params.gate.min_slice,
        )

    def _write_report(self, report: Report) -> None:
        if self.subject == "prefix" and (blind := describe_blind_metrics(report)):
            log_warning(blind)
        write_report(self.folder / REPORT_FILE, report)
        write_stamp(self.folder, self.make_stamp_inputs(), _RESULT_FILES)


def read_scored(folder: Path) -> ReportWithPredictions:
    """Return the report and the predictions in a folder. Raises GateError if one is missing or damaged."""
    return ReportWithPredictions(read_report(folder / REPORT_FILE), read_predictions(folder / PREDICTIONS_FILE))


def _find_newer_metrics(gate: GateConfig) -> list[str]:
    """Return those metrics of the gate that reports of earlier releases do not have; predictions are scored again."""
    named = {*gate.floors, *(rule.metric for rule in gate.non_inferiority)}
    return sorted(named & {"exact_match", "json_valid"})


def describe_blind_metrics(report: Report) -> str:
    """Return a sentence on the metrics that cannot see the references; "" if all can."""
    if not report.reference_scores:
        return ""
    scores = ", ".join(f"{METRIC_LABELS[metric]} {score:.2f}" for metric, score in report.reference_scores.items())
    return (
        f"{report.tenant}: with tokenizer {report.tokenizer} the references scored against themselves get {scores}; "
        "these metrics say little about this tenant"
    )


def _drop_scoring(inputs: Mapping[str, Any]) -> dict[str, Any]:
    evaluate = inputs.get("evaluate")
    if not isinstance(evaluate, dict):
        return dict(inputs)
    decoding = {name: value for name, value in evaluate.items() if name not in _SCORING_SETTINGS}
    return {
        **{name: value for name, value in inputs.items() if name not in ("min_slice", "gated")},
        "evaluate": decoding,
    }
