"""The quality gate: decide from reports and predictions whether a candidate may serve.

There are two kinds of check:
    floor             the metric on the whole split is at least its floor (TER: at most its ceiling);
    non-inferiority   the candidate is not worse than the champion by `margin` points or more: the unfavourable end of
                      the paired bootstrap interval of (candidate - champion) lies inside the margin, on the whole
                      split and on every slice of at least `min_slice` examples.

The interval is two-sided at `confidence`: a candidate that is worse by the whole margin passes a check in at most
(1 - confidence) / 2 of all cases. A margin of 0 requires a significant improvement. For TER, where lower is better, the
signs are reversed. A split of fewer than `min_slice` examples is too small for an interval: the candidate must then
score at least as high as the champion, and the verdict states no confidence. Without a champion only the floors are
checked.

A metric that gives the references less than full marks against themselves cannot compare anything: a gate that uses it
raises a GateError instead of a verdict. Knows no models and no registry.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from components.config import GateConfig
from components.data.schema import ALL_SLICE
from components.errors import GateError
from components.evaluation.gate_checks import (
    GateCheck,
    check_floors,
    check_non_inferiority,
    count_examples,
    find_tokenizer,
    require_seeing_metrics,
)
from components.evaluation.report import ReportWithPredictions
from components.storage.atomic_files import write_atomic


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
        GateError: candidate and champion were not evaluated on the same examples in the same way, a report does not
            belong to its predictions, or a metric of `config` cannot see the references.

    """
    _require_matching_counts(candidate)
    tokenizer = find_tokenizer(candidate)
    require_seeing_metrics(candidate, config, lowercase, tokenizer)
    checks = check_floors(candidate.report, config)
    if champion is not None:
        _require_comparable(candidate, champion)
        for rule in config.non_inferiority:
            checks += check_non_inferiority(candidate, champion, rule, config, lowercase, tokenizer)
    return Verdict(
        tenant=candidate.report.tenant,
        accepted=all(check.passed for check in checks),
        checks=checks,
        sentence=_summarize_checks(checks, champion is not None) + _describe_small_split(candidate, config),
        prefix_digest=candidate.report.prefix_digest,
        champion_digest=champion.report.prefix_digest if champion else None,
        champion_version=champion_version,
    )


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
    compared = [(field, getattr(ours, field), getattr(theirs, field)) for field in ("tenant", "split", "decoding")]
    compared.append(("tokenizer", find_tokenizer(candidate), find_tokenizer(champion)))
    for field, own, other in compared:
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
        passed = "its check" if len(checks) == 1 else f"all {len(checks)} checks"
        return f"Accepted: {passed} passed{without}."
    return f"Rejected: {len(failed)} of {len(checks)} checks failed{without}. {' '.join(failed)}"


def _describe_small_split(candidate: ReportWithPredictions, config: GateConfig) -> str:
    count = len(candidate.predictions)
    if count >= config.min_slice:
        return ""
    split = candidate.report.split
    return (
        f" The {split} split has {count_examples(count)}, fewer than gate.min_slice ({config.min_slice}): "
        "too few to state a confidence."
    )


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
