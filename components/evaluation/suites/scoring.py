"""Score predictions with a suite, slice by slice, and find the metrics that this machine cannot compute.

Knows the suites by name; does not know how a metric is computed.
"""

import difflib
from collections.abc import Collection, Sequence

from components.data.schema import ALL_SLICE
from components.errors import DataError, WorkspaceError
from components.evaluation.suites import e2e, java, summarisation, triples
from components.evaluation.suites.suite import SUITE_METRIC_LABELS, Suite, SuiteScore, UnavailableMetric

SUITES = {suite.name: suite for suite in (e2e.SUITE, triples.WEBNLG, triples.DART, summarisation.SUITE)}


def find_suite(name: str) -> Suite:
    """Return the suite of that name.

    Raises:
        DataError: there is none; the message names the most similar suite.

    """
    if name not in SUITES:
        near = difflib.get_close_matches(name.lower(), SUITES, n=1, cutoff=0.4)
        fix = f"did you mean {near[0]!r}?" if near else "choose one of these"
        raise DataError(f"a suite: {', '.join(SUITES)}", repr(name), fix)
    return SUITES[name]


def find_unavailable_metrics(suite: str, metrics: Collection[str] | None = None) -> list[UnavailableMetric]:
    """Return those of the suite's metrics (or of the named ones) that this machine cannot compute.

    Raises:
        DataError: the suite or a metric is unknown.

    """
    known = find_suite(suite)
    java_metrics = [metric for metric in _select_metrics(known, metrics) if metric in known.java_metrics]
    problem = java.find_problem() if java_metrics else None
    return [UnavailableMetric(metric, *problem) for metric in java_metrics] if problem is not None else []


def score_suite(
    suite: str,
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    slices: Sequence[str | None] | None = None,
    *,
    metrics: Collection[str] | None = None,
) -> list[SuiteScore]:
    """Score one prediction for each example against the example's references, at least one each.

    With `slices`, a label or None for each example, every slice is also scored as a corpus. Scores are in the suite's
    order of metrics, then by slice name with `all` last. Without `metrics`, those that `find_unavailable_metrics`
    returns are omitted; metrics that are passed must be computable. An empty prediction is scored like any other.

    Raises:
        DataError: an unknown suite or metric, no predictions, or counts that differ.
        WorkspaceError: this machine cannot compute one of the metrics passed.

    """
    known = find_suite(suite)
    _check_counts(predictions, references, slices)
    unavailable = find_unavailable_metrics(suite, metrics)
    if unavailable and metrics is not None:
        labels = ", ".join(SUITE_METRIC_LABELS[one.metric] for one in unavailable)
        raise WorkspaceError(f"{labels} of {suite}", unavailable[0].why, unavailable[0].fix)
    omitted = {one.metric for one in unavailable}
    wanted = [metric for metric in _select_metrics(known, metrics) if metric not in omitted]
    rows = _group_rows_by_slice(slices, len(predictions))
    values = known.compute_scores(wanted, predictions, references, list(rows.values()))
    return [
        SuiteScore(metric, name, value, len(rows[name]), known.variants[metric])
        for metric in wanted
        for name, value in zip(rows, values[metric], strict=True)
    ]


def _select_metrics(suite: Suite, metrics: Collection[str] | None) -> list[str]:
    if metrics is None:
        return list(suite.variants)
    if unknown := sorted(set(metrics) - set(suite.variants)):
        raise DataError(f"a metric of {suite.name}: {', '.join(suite.variants)}", repr(unknown[0]), "remove it")
    return [metric for metric in suite.variants if metric in metrics]


def _check_counts(
    predictions: Sequence[str], references: Sequence[Sequence[str]], slices: Sequence[str | None] | None
) -> None:
    if len(predictions) != len(references) or (slices is not None and len(slices) != len(references)):
        labels = "" if slices is None else f", {len(slices)} slices"
        got = f"{len(predictions)} predictions, {len(references)} sets of references{labels}"
        raise DataError("one prediction for each set of references", got, "pass equal numbers of them")
    if not predictions:
        raise DataError("at least one prediction", "none", "pass the outputs of a test set")
    if (lacking := next((number for number, own in enumerate(references, 1) if not own), None)) is not None:
        raise DataError(
            "at least one reference for each example",
            f"none for example {lacking}",
            "add a reference, or remove the example",
        )


def _group_rows_by_slice(slices: Sequence[str | None] | None, count: int) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for index, name in enumerate(slices or ()):
        if name is not None:
            rows.setdefault(name, []).append(index)
    rows.pop(ALL_SLICE, None)
    return {**{name: rows[name] for name in sorted(rows)}, ALL_SLICE: list(range(count))}
