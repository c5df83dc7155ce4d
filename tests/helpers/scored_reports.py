"""Reports on texts that a test makes up, as an evaluation writes them."""

from typing import Any

from components.config import EvaluateConfig
from components.data.schema import Example
from components.evaluation.metrics import METRICS
from components.evaluation.report import Prediction, ReportWithPredictions, build_report

TEXT_METRICS = tuple(metric for metric in METRICS if metric not in ("exact_match", "json_valid"))
"""Metrics of parts of texts."""


def scored(
    predictions: list[str], references: list[str], slices: list[str | None] | None = None, **values: Any
) -> ReportWithPredictions:
    """A report on predictions for examples of one reference each, with its predictions; `values` are of `evaluate`."""
    names = slices or [None] * len(references)
    pairs = zip(references, names, strict=True)
    examples = [Example(f"name : {i}", (text,), name) for i, (text, name) in enumerate(pairs)]
    config = EvaluateConfig(bootstrap_samples=50, **values)
    report = build_report(
        tenant="acme",
        subject="prefix",
        examples=examples,
        predictions=predictions,
        config=config,
        data_digest="d",
        prefix_digest="p",
        min_slice=20,
    )
    kept = [Prediction(e.source, e.references, e.slice, text) for e, text in zip(examples, predictions, strict=True)]
    return ReportWithPredictions(report, kept)
