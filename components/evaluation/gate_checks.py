"""The checks of the quality gate, each with its numbers and a sentence: floors and non-inferiority.

What they mean is described in `components.evaluation.gate`, which runs them. Knows reports with their predictions.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from components.config import GateConfig, Metric, NonInferiorityConfig, Tokenizer
from components.data.schema import ALL_SLICE
from components.evaluation.bootstrap import bootstrap_paired_difference
from components.evaluation.metrics import (
    LOWER_IS_BETTER,
    METRIC_LABELS,
    Array,
    compute_corpus_score,
    compute_sentence_statistics,
)
from components.evaluation.report import Prediction, Report, ReportWithPredictions, find_slice_indices
from components.evaluation.self_check import require_full_marks
from components.evaluation.tokenization import resolve_tokenizer


class GateCheck(BaseModel):
    """One check with its numbers, in points of the metric (BLEU 27.1 is 27.1 points).

    For a floor, `value` is the score and `threshold` the floor. For non-inferiority, `value` is candidate - champion
    and `threshold` is -margin (+margin for TER, where lower is better). `low` and `high` are the ends of the value's
    confidence interval; None, with a threshold of 0, if there are too few examples for one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Literal["floor", "non-inferiority"]
    slice: str
    metric: Metric
    value: float
    threshold: float
    low: float | None
    high: float | None
    passed: bool
    sentence: str


def find_tokenizer(scored: ReportWithPredictions) -> Tokenizer:
    """Return the report's tokenizer; for a report of an earlier release the one of its references."""
    references = (text for one in scored.predictions for text in one.references)
    return scored.report.tokenizer or resolve_tokenizer("auto", references)


def require_seeing_metrics(
    candidate: ReportWithPredictions, config: GateConfig, lowercase: bool, tokenizer: Tokenizer
) -> None:
    """Check that every metric of the gate gives the references full marks, on each slice where it is compared.

    Raises:
        GateError: one does not, or the tokenizer is not installed.

    """
    references = [one.references for one in candidate.predictions]
    slices = _find_gated_slices(candidate.predictions, config)
    compared = {rule.metric for rule in config.non_inferiority}
    for metric in sorted({*config.floors, *compared}):
        parts = slices if metric in compared else {ALL_SLICE: slices[ALL_SLICE]}
        require_full_marks(metric, references, parts, lowercase, tokenizer, candidate.report.tenant)


def _find_gated_slices(predictions: Sequence[Prediction], config: GateConfig) -> dict[str, Sequence[int]]:
    """Return slice -> indices of its examples for the whole split and every slice of at least `min_slice` examples."""
    indices = find_slice_indices([one.slice for one in predictions])
    return {name: rows for name, rows in indices.items() if name == ALL_SLICE or len(rows) >= config.min_slice}


def check_floors(report: Report, config: GateConfig) -> list[GateCheck]:
    """Compare the report's scores with the floors. Raises GateError if the report lacks a metric."""
    checks = []
    for metric, threshold in config.floors.items():
        score = report.find_score(metric)
        if score.n < config.min_slice:
            score = score.model_copy(update={"low": None, "high": None})
        lower_better = metric in LOWER_IS_BETTER
        passed = score.value <= threshold if lower_better else score.value >= threshold
        relation = ("within" if passed else "above") if lower_better else ("at or above" if passed else "below")
        bound = "ceiling" if lower_better else "floor"
        figures = f"{METRIC_LABELS[metric]} {score.value:.2f}{score.format_interval(2)} on {count_examples(score.n)}"
        checks.append(
            GateCheck(
                name="floor",
                slice=ALL_SLICE,
                metric=metric,
                value=score.value,
                threshold=threshold,
                low=score.low,
                high=score.high,
                passed=passed,
                sentence=f"{figures} is {relation} its {bound} of {threshold:g}.",
            )
        )
    return checks


def check_non_inferiority(
    candidate: ReportWithPredictions,
    champion: ReportWithPredictions,
    rule: NonInferiorityConfig,
    config: GateConfig,
    lowercase: bool,
    tokenizer: Tokenizer,
) -> list[GateCheck]:
    """Compare the candidate with the champion by one rule, on the whole split and on every slice that is gated."""
    ours_NK = _compute_statistics(rule.metric, candidate.predictions, lowercase, tokenizer)
    theirs_NK = _compute_statistics(rule.metric, champion.predictions, lowercase, tokenizer)
    if len(ours_NK) < config.min_slice:
        return [_compare_few_examples(rule.metric, ours_NK, theirs_NK, config)]
    checks = []
    for name, rows in _find_gated_slices(candidate.predictions, config).items():
        difference, low, high = bootstrap_paired_difference(
            rule.metric, ours_NK[rows], theirs_NK[rows], config.bootstrap_samples, rule.confidence, config.seed
        )
        passed = high < rule.margin if rule.metric in LOWER_IS_BETTER else low > -rule.margin
        checks.append(
            GateCheck(
                name="non-inferiority",
                slice=name,
                metric=rule.metric,
                value=difference,
                threshold=rule.margin if rule.metric in LOWER_IS_BETTER else 0.0 - rule.margin,
                low=low,
                high=high,
                passed=passed,
                sentence=(
                    f"{METRIC_LABELS[rule.metric]} differs from the champion's by {difference:+.2f} "
                    f"[{low:+.2f}, {high:+.2f}] "
                    f"on {'all' if name == ALL_SLICE else f'slice {name!r},'} {count_examples(len(rows))} at "
                    f"{rule.confidence:.0%} confidence: "
                    f"{'not worse' if passed else 'may be worse'} by the margin of {rule.margin:g} or more."
                ),
            )
        )
    return checks


def _compare_few_examples(metric: Metric, ours_NK: Array, theirs_NK: Array, config: GateConfig) -> GateCheck:
    difference = compute_corpus_score(metric, ours_NK) - compute_corpus_score(metric, theirs_NK)
    passed = difference <= 0 if metric in LOWER_IS_BETTER else difference >= 0
    count, label = count_examples(len(ours_NK)), METRIC_LABELS[metric]
    relation = "higher than" if metric in LOWER_IS_BETTER else "below"
    return GateCheck(
        name="non-inferiority",
        slice=ALL_SLICE,
        metric=metric,
        value=difference,
        threshold=0.0,
        low=None,
        high=None,
        passed=passed,
        sentence=(
            f"{label} differs from the champion's by {difference:+.2f} on {count}, too few for an interval "
            f"(gate.min_slice: {config.min_slice}): it must not be {relation} the champion's"
            f"{'.' if passed else '; add examples to the split.'}"
        ),
    )


def _compute_statistics(
    metric: Metric, predictions: Sequence[Prediction], lowercase: bool, tokenizer: Tokenizer
) -> Array:
    texts = [one.prediction for one in predictions]
    return compute_sentence_statistics(metric, texts, [one.references for one in predictions], lowercase, tokenizer)


def count_examples(count: int) -> str:
    """Return the number with its noun."""
    return f"{count} example{'' if count == 1 else 's'}"
