import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config import EvaluateConfig
from components.data.schema import Example
from components.errors import DataError, GateError
from components.evaluation.metrics import METRICS
from components.evaluation.report import (
    build_report,
    find_slice_indices,
    read_predictions,
    read_report,
    write_predictions,
    write_report,
)

EXAMPLES = [
    Example("name : Mill", ("The Mill is a pub .", "Mill , a pub ."), "seen"),
    Example("name : Vale", ("Vale is a quiet cafe in town .",), "unseen"),
    Example("name : Crown", ("The Crown is an inn near the bridge .",)),
]
GUESSES = ["The Mill is a pub .", "Vale is a cafe .", "The Crown is near the bridge ."]


def make_report(examples=EXAMPLES, predictions=GUESSES, min_slice=1, **values):
    config = EvaluateConfig(bootstrap_samples=50, **values)
    return build_report(
        tenant="acme",
        subject="prefix",
        examples=examples,
        predictions=predictions,
        config=config,
        data_digest="d" * 64,
        prefix_digest="p" * 64,
        min_slice=min_slice,
    )


def test_every_slice_has_every_metric_with_its_interval():
    made = make_report()
    assert list(made.slices) == ["all", "seen", "unseen"]
    assert {name: {score.n for score in scores} for name, scores in made.slices.items()} == {
        "all": {3},
        "seen": {1},
        "unseen": {1},
    }
    without_json = [metric for metric in METRICS if metric != "json_valid"]
    assert all([score.metric for score in scores] == without_json for scores in made.slices.values())
    as_json = make_report([replace(one, references=('{"a": 1}',)) for one in EXAMPLES], ['{"a": 1.0}', "{a: 1}", "[]"])
    assert [as_json.find_score(name).value for name in ("exact_match", "json_valid")] == pytest.approx(
        [100 / 3, 200 / 3]
    )
    assert "json_valid" not in as_json.reference_scores
    overall = made.find_score("bleu")
    assert overall.low <= overall.value <= overall.high
    assert made.find_score("ter", "seen").value == 0
    assert made.decoding == EvaluateConfig().select_decoding()
    assert (made.decoding["num_beams"], made.decoding["max_new_tokens"], made.decoding["guidance"]) == (1, 96, 1.0)
    assert not {"split", "lowercase", "seed"} & set(made.decoding)
    assert EvaluateConfig(temperature=0.5, seed=3).select_decoding()["seed"] == 3


def test_a_slice_that_a_report_lacks_is_refused():
    with pytest.raises(GateError, match="slice 'elsewhere'"):
        make_report().find_score("bleu", "elsewhere")


def test_a_slice_is_scored_like_a_split():
    alone = make_report(EXAMPLES[:1], GUESSES[:1])
    assert alone.slices["all"] == make_report().slices["seen"]


def test_slices_with_too_few_examples_have_no_interval():
    made = make_report(min_slice=3)
    assert made.find_score("bleu").low is not None
    assert {(score.low, score.high) for score in made.slices["seen"]} == {(None, None)}
    assert made.find_score("bleu").format_interval(1).startswith(" [")
    assert made.find_score("bleu", "seen").format_interval(1) == ""


def test_the_tokenizer_and_the_metrics_that_cannot_see_the_references_are_in_the_report():
    assert (make_report().tokenizer, make_report().reference_scores) == ("13a", {})
    chinese = [Example("name : 磨坊", ("磨坊在河边，价格便宜。",))]
    assert make_report(chinese, ["磨坊在河边。"]).tokenizer == "zh"
    blind = make_report(chinese, ["磨坊在河边。"], tokenize="13a")
    assert blind.reference_scores == {"bleu": 0.0}


def test_a_report_of_an_earlier_release_is_read(tmp_path):
    path = tmp_path / "report.json"
    write_report(path, make_report())
    values = json.loads(path.read_text())
    del values["tokenizer"], values["reference_scores"]
    path.write_text(json.dumps(values))
    assert read_report(path).tokenizer is None
    assert read_report(path).slices == make_report().slices


def test_a_report_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "acme" / "report.json"
    made = make_report(num_beams=5, length_penalty=0.8)
    write_report(path, made)
    assert read_report(path) == made


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="test split"):
        make_report([], [])


def test_fewer_predictions_than_examples_are_refused():
    with pytest.raises(GateError, match="3 sets of references"):
        make_report(EXAMPLES, GUESSES[:2])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"tenant": 3}', b"\xff\xfe", b"[" * 10**5, b"9" * 5000])
def test_a_damaged_report_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(GateError, match="report\\.json"):
        read_report(path)


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"source": "a"}',
        b"\xff\xfe",
        b'{"source": 1, "references": []}',
        b"[" * 10**5,
        b'{"source": ' + b"9" * 5000 + b"}",
    ],
)
def test_damaged_predictions_are_refused_with_their_path(tmp_path, content):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(content + b"\n")
    with pytest.raises(GateError, match="predictions\\.jsonl"):
        read_predictions(path)


def test_a_missing_report_is_refused_with_its_path(tmp_path):
    with pytest.raises(GateError, match="missing\\.json"):
        read_report(tmp_path / "missing.json")


writable = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(writable, st.lists(writable, min_size=1), st.none() | writable, writable), min_size=1))
def test_predictions_are_read_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("run") / "predictions.jsonl"
    examples = [Example(source, tuple(references), name) for source, references, name, _ in rows]
    write_predictions(path, examples, [text for *_, text in rows])
    read = read_predictions(path)
    assert [(one.source, one.references, one.slice, one.prediction) for one in read] == [
        (source, tuple(references), name, text) for source, references, name, text in rows
    ]


def test_slices_are_in_alphabetical_order():
    assert find_slice_indices(["b", None, "a", "b"]) == {"all": [0, 1, 2, 3], "a": [2], "b": [0, 3]}
