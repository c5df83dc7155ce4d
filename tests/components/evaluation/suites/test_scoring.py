import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import DataError, WorkspaceError
from components.evaluation.suites import (
    SUITES,
    find_suite,
    find_unavailable_metrics,
    java,
    score_suite,
)

WORDS = st.sampled_from(["oak", "elm", "ash", "yew", "fir", "bay", "box", "fig"])
TEXT = st.lists(WORDS, min_size=4, max_size=9).map(" ".join)
EXAMPLES = st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=4)), min_size=1, max_size=6)
PLAIN = {
    name: [metric for metric in suite.variants if metric not in suite.java_metrics] for name, suite in SUITES.items()
}
BEST = {"bleu": 100, "ter": 0, "rouge1": 100, "rouge2": 100, "rougeL": 100}


def values(suite, texts, references, slices=None):
    scores = score_suite(suite, texts, references, slices, metrics=PLAIN[suite])
    return {(one.metric, one.slice): one.value for one in scores}


@pytest.mark.parametrize("suite", SUITES)
@settings(max_examples=25, deadline=None)
@given(examples=EXAMPLES)
def test_the_references_themselves_score_best(suite, examples):
    references = [own for _, own in examples]
    for (metric, _), value in values(suite, [own[0] for own in references], references).items():
        if metric in BEST:
            assert value == pytest.approx(BEST[metric]), metric


@pytest.mark.parametrize("suite", SUITES)
@settings(max_examples=25, deadline=None)
@given(examples=EXAMPLES, seed=st.integers(0, 99))
def test_the_order_of_examples_does_not_change_the_scores(suite, examples, seed):
    shuffled = random.Random(seed).sample(examples, len(examples))
    original = values(suite, [text for text, _ in examples], [own for _, own in examples])
    assert values(suite, [text for text, _ in shuffled], [own for _, own in shuffled]) == pytest.approx(original)


@pytest.mark.parametrize("suite", ["webnlg", "summarisation", "e2e"])
@settings(max_examples=15, deadline=None)
@given(examples=st.lists(st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=3)), min_size=2, max_size=6))
def test_a_slice_is_scored_as_a_corpus(suite, examples):
    texts, references = [text for text, _ in examples], [own for _, own in examples]
    slices = ["seen", *["unseen"] * (len(examples) - 2), None]
    scores = values(suite, texts, references, slices)
    alone = values(suite, texts[:1], references[:1])
    whole = values(suite, texts, references)
    for metric in PLAIN[suite]:
        assert scores[metric, "seen"] == pytest.approx(alone[metric, "all"])
        assert scores[metric, "all"] == pytest.approx(whole[metric, "all"])


def test_scores_are_ordered_by_metric_then_slice_with_their_counts():
    scores = score_suite("webnlg", ["a", "b", "c"], [["a"], ["b"], ["c"]], ["unseen", "seen", "seen"], metrics=["ter"])
    assert [(one.metric, one.slice, one.n) for one in scores] == [
        ("ter", "seen", 2),
        ("ter", "unseen", 1),
        ("ter", "all", 3),
    ]
    assert all("tercom" in one.variant for one in scores)


@pytest.mark.parametrize("suite", SUITES)
def test_an_empty_prediction_is_scored(suite):
    assert all(value == value for value in values(suite, ["", "a b c d"], [["a b"], ["a b c d"]]).values())
    assert all(value == value for value in values(suite, [""], [["a b"]]).values())


def test_an_unknown_suite_is_refused_with_the_most_similar_one():
    with pytest.raises(DataError, match="did you mean 'webnlg'"):
        find_suite("webnlg17")
    with pytest.raises(DataError, match="choose one"):
        score_suite("zzz", ["a"], [["a"]])


@pytest.mark.parametrize(
    ("texts", "references", "slices", "message"),
    [
        (["a"], [["a"], ["b"]], None, "1 predictions, 2 sets of references"),
        (["a"], [["a"]], ["x", "y"], "2 slices"),
        ([], [], None, "at least one prediction"),
        (["a", "b"], [["a"], []], None, "none for example 2"),
    ],
)
def test_counts_that_differ_are_refused(texts, references, slices, message):
    with pytest.raises(DataError, match=message):
        score_suite("dart", texts, references, slices)


def test_an_unknown_metric_is_refused():
    with pytest.raises(DataError, match="'meteorite'"):
        score_suite("e2e", ["a"], [["a"]], metrics=["meteorite"])


def test_without_java_its_metrics_are_omitted_with_the_reason(monkeypatch):
    monkeypatch.setattr(java, "find_problem", lambda: ("no Java", "install it"))
    assert [one.metric for one in find_unavailable_metrics("e2e")] == ["meteor", "rougeL", "cider"]
    assert {(one.why, one.fix) for one in find_unavailable_metrics("e2e")} == {("no Java", "install it")}
    assert find_unavailable_metrics("e2e", ["bleu"]) == find_unavailable_metrics("summarisation") == []
    assert {one.metric for one in score_suite("e2e", ["a b"], [["a b"]])} == {"bleu", "nist"}
    with pytest.raises(WorkspaceError, match="METEOR"):
        score_suite("webnlg", ["a"], [["a"]], metrics=["meteor"])
