"""The quality gate: decide from reports and predictions whether a candidate may serve.

There are two kinds of check:
    floor             the metric on the whole split is at least its floor (TER: at most its ceiling);
    non-inferiority   the candidate is not worse than the champion by `margin` points or more: the unfavourable end of
                      the paired bootstrap interval of (candidate - champion) lies inside the margin, on the whole
                      split and on every slice of at least `min_slice` examples.

The interval is two-sided at `confidence`: a candidate that is worse by the whole margin passes a check in at most
(1 - confidence) / 2 of all cases. A margin of 0 requires a significant improvement. For TER, where lower is better, the
signs are reversed. Without a champion only the floors are checked. Knows no models and no registry.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from components.config import GateConfig, Metric, NonInferiorityConfig
from components.data.schema import ALL_SLICE
from components.errors import GateError
from components.evaluation.bootstrap import bootstrap_paired_difference
from components.evaluation.metrics import LOWER_IS_BETTER, METRIC_LABELS, Array, compute_sentence_statistics
from components.evaluation.report import Prediction, Report, find_slice_indices
from components.storage.atomic_files import write_atomic


class ReportWithPredictions(NamedTuple):
    """A report with the predictions that it was computed from."""

    report: Report
    predictions: Sequence[Prediction]


class GateCheck(BaseModel):
    """One check with its numbers, in points of the metric (BLEU 27.1 is 27.1 points).

    For a floor, `value` is the score and `threshold` the floor. For non-inferiority, `value` is candidate - champion
    and `threshold` is -margin (+margin for TER, where lower is better). `low` and `high` are the ends of the value's
    confidence interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Literal["floor", "non-inferiority"]
    slice: str
    metric: Metric
    value: float
    threshold: float
    low: float
    high: float
    passed: bool
    sentence: str


class Verdict(BaseModel):
    """The gate's decision on a candidate: accepted if every check passed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tenant: str
    accepted: bool
    checks: list[GateCheck]
    sentence: str
    prefix_digest: str | None
    champion_digest: str | None
    champion_version: str | None = None


def judge_candidate(
    candidate: ReportWithPredictions,
    champion: ReportWithPredictions | None,
    config: GateConfig,
    lowercase: bool,
    champion_version: str | None = None,
) -> Verdict:
    """Run every check of `config` on a candidate.

    Raises:
        GateError: candidate and champion were not evaluated on the same examples in the same way, or a report does
            not belong to its predictions.

    """
    _require_matching_counts(candidate)
    checks = _check_floors(candidate.report, config)
    if champion is not None:
        _require_comparable(candidate, champion)
        for rule in config.non_inferiority:
            checks += _check_non_inferiority(candidate.predictions, champion.predictions, rule, config, lowercase)
    return Verdict(
        tenant=candidate.report.tenant,
        accepted=all(check.passed for check in checks),
        checks=checks,
        sentence=_summarize_checks(checks, champion is not None),
        prefix_digest=candidate.report.prefix_digest,
        champion_digest=champion.report.prefix_digest if champion else None,
        champion_version=champion_version,
    )


def _check_floors(report: Report, config: GateConfig) -> list[GateCheck]:
    checks = []
    for metric, threshold in config.floors.items():
        score = report.find_score(metric)
        lower_better = metric in LOWER_IS_BETTER
        passed = score.value <= threshold if lower_better else score.value >= threshold
        relation = ("within" if passed else "above") if lower_better else ("at or above" if passed else "below")
        bound = "ceiling" if lower_better else "floor"
        sentence = (
            f"{METRIC_LABELS[metric]} {score.value:.2f} [{score.low:.2f}, {score.high:.2f}] on {score.n} examples is "
        )
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
                sentence=f"{sentence}{relation} its {bound} of {threshold:g}.",
            )
        )
    return checks


def _check_non_inferiority(
    candidate: Sequence[Prediction],
    champion: Sequence[Prediction],
    rule: NonInferiorityConfig,
    config: GateConfig,
    lowercase: bool,
) -> list[GateCheck]:
    ours_NK = _compute_statistics(rule.metric, candidate, lowercase)
    theirs_NK = _compute_statistics(rule.metric, champion, lowercase)
    checks = []
    for name, rows in find_slice_indices([one.slice for one in candidate]).items():
        if name != ALL_SLICE and len(rows) < config.min_slice:
            continue
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
                    f"on {'all' if name == ALL_SLICE else f'slice {name!r},'} {len(rows)} examples at "
                    f"{rule.confidence:.0%} confidence: "
                    f"{'not worse' if passed else 'may be worse'} by the margin of {rule.margin:g} or more."
                ),
            )
        )
    return checks


def _compute_statistics(metric: Metric, predictions: Sequence[Prediction], lowercase: bool) -> Array:
    texts = [one.prediction for one in predictions]
    return compute_sentence_statistics(metric, texts, [one.references for one in predictions], lowercase)


def _require_matching_counts(scored: ReportWithPredictions) -> None:
    counts = {score.n for score in scored.report.slices.get(ALL_SLICE, [])}
    if counts != {len(scored.predictions)}:
        got = (
            f"a report of {', '.join(map(str, sorted(counts))) or 'no'} examples, {len(scored.predictions)} predictions"
        )
        fix = f"evaluate {scored.report.tenant} again"
        raise GateError("a report and the predictions that it was computed from", got, fix)


def _require_comparable(candidate: ReportWithPredictions, champion: ReportWithPredictions) -> None:
    _require_matching_counts(champion)
    ours, theirs = candidate.report, champion.report
    for field in ("tenant", "split", "decoding"):
        own, other = getattr(ours, field), getattr(theirs, field)
        if own != other:
            got = f"{own} for the candidate, {other} for the champion"
            raise GateError(f"the same {field} for candidate and champion", got, "evaluate the champion again")
    examples = [[(one.source, one.references, one.slice) for one in side.predictions] for side in (candidate, champion)]
    if examples[0] != examples[1]:
        got = f"{len(examples[0])} and {len(examples[1])} examples, which differ"
        wanted = f"the same examples of the {ours.split} split for candidate and champion"
        raise GateError(wanted, got, "evaluate the champion on the current split")


def _summarize_checks(checks: Sequence[GateCheck], has_champion: bool) -> str:
    without = "" if has_champion else "; there is no champion to compare with"
    if not checks:
        return f"Accepted unchecked: no floor is set{without}."
    failed = [check.sentence for check in checks if not check.passed]
    if not failed:
        return f"Accepted: all {len(checks)} checks passed{without}."
    return f"Rejected: {len(failed)} of {len(checks)} checks failed{without}. {' '.join(failed)}"


def write_verdict(path: Path, verdict: Verdict) -> None:
    """Write a verdict as JSON, atomically."""
    write_atomic(path, (verdict.model_dump_json(indent=2) + "\n").encode())


def read_verdict(path: Path) -> Verdict:
    """Read a verdict.

    Raises:
        GateError: the file is missing or is not a verdict.

    """
    try:
        return Verdict.model_validate_json(path.read_bytes())
    except OSError as problem:
        raise GateError("a verdict written by the gate", f"{path}: {problem.strerror}", "run the gate again") from None
    except ValidationError as problems:
        raise GateError(
            "a verdict written by the gate", f"{path}: {problems.errors()[0]['msg']}", "run the gate again"
        ) from None
