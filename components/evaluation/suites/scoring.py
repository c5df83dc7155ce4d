"""Scoring predictions with a suite: which metrics can be computed here, and each of them for every slice.

Knows the suites by name and no metric's arithmetic.
"""

import difflib
from collections.abc import Collection, Sequence

from components.data.schema import ALL_SLICE
from components.errors import DataError, WorkspaceError
from components.evaluation.suites import e2e, java, summarisation, triples
from components.evaluation.suites.suite import SUITE_METRIC_LABELS, Suite, SuiteScore, UnavailableMetric

SUITES = {suite.name: suite for suite in (e2e.SUITE, triples.WEBNLG, triples.DART, summarisation.SUITE)}


def find_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        DataError: there is none; the message names the nearest.

    """
    if name not in SUITES:
        near = difflib.get_close_matches(name.lower(), SUITES, n=1, cutoff=0.4)
        fix = f"did you mean {near[0]!r}?" if near else "choose one of them"
        raise DataError(f"a suite: {', '.join(SUITES)}", repr(name), fix)
    return SUITES[name]


def find_unavailable_metrics(suite: str, metrics: Collection[str] | None = None) -> list[UnavailableMetric]:
    """Those of the suite's (or the named) metrics that cannot be computed here.

    Raises:
        DataError: the suite or a metric is unknown.

    """
    found = find_suite(suite)
    needing = [metric for metric in _select_metrics(found, metrics) if metric in found.java_metrics]
    missing = java.find_problem() if needing else None
    return [UnavailableMetric(metric, *missing) for metric in needing] if missing is not None else []


def score_suite(
    suite: str,
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    slices: Sequence[str | None] | None = None,
    *,
    metrics: Collection[str] | None = None,
) -> list[SuiteScore]:
    """Score one prediction an example against its own references, of which each example has at least one.

    With `slices`, a label or None for each example, every slice is scored by itself too, as a corpus of its own. Scores
    come metric by metric in the suite's order, slices by name and `all` last. Without `metrics` those that
    `find_unavailable_metrics` names are left out; a metric that is asked for by name must be computable. An empty
    prediction counts as it is.

    Raises:
        DataError: an unknown suite or metric, nothing to score, or counts that differ.
        WorkspaceError: a metric was asked for by name that this machine cannot compute.

    """
    found = find_suite(suite)
    _check_counts(predictions, references, slices)
    missing = find_unavailable_metrics(suite, metrics)
    if missing and metrics is not None:
        told = ", ".join(SUITE_METRIC_LABELS[one.metric] for one in missing)
        raise WorkspaceError(f"{told} of {suite}", missing[0].why, missing[0].fix)
    wanted = [metric for metric in _select_metrics(found, metrics) if metric not in {one.metric for one in missing}]
    rows = _group_rows_by_slice(slices, len(predictions))
    values = found.compute_scores(wanted, predictions, references, list(rows.values()))
    return [
        SuiteScore(metric, name, value, len(rows[name]), found.variants[metric])
        for metric in wanted
        for name, value in zip(rows, values[metric], strict=True)
    ]


def _select_metrics(suite: Suite, metrics: Collection[str] | None) -> list[str]:
    if metrics is None:
        return list(suite.variants)
    if unknown := sorted(set(metrics) - set(suite.variants)):
        raise DataError(f"a metric of {suite.name}: {', '.join(suite.variants)}", repr(unknown[0]), "leave it out")
    return [metric for metric in suite.variants if metric in metrics]


def _check_counts(
    predictions: Sequence[str], references: Sequence[Sequence[str]], slices: Sequence[str | None] | None
) -> None:
    if len(predictions) != len(references) or (slices is not None and len(slices) != len(references)):
        labels = "" if slices is None else f", {len(slices)} slices"
        got = f"{len(predictions)} predictions, {len(references)} sets of references{labels}"
        raise DataError("one prediction for each set of references", got, "give as many of one as of the other")
    if not predictions:
        raise DataError("at least one prediction", "none", "give the outputs of a test set")
    if (lacking := next((number for number, own in enumerate(references, 1) if not own), None)) is not None:
        raise DataError("at least one reference for each example", f"none for example {lacking}", "add or drop it")


def _group_rows_by_slice(slices: Sequence[str | None] | None, count: int) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for index, name in enumerate(slices or ()):
        if name is not None:
            rows.setdefault(name, []).append(index)
    rows.pop(ALL_SLICE, None)
    return {**{name: rows[name] for name in sorted(rows)}, ALL_SLICE: list(range(count))}
