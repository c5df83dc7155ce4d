"""The sections `evaluate` and `gate`: tokenizers by name, and floors that can be removed."""

import pytest

from components.config import load_params


def test_the_tokenizer_is_found_from_the_data_unless_it_is_set(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("base: {path: base}\ntenants: {acme: {evaluate: {tokenize: zh}}}\n")
    params = load_params(path)
    assert params.evaluate.tokenize == "auto"
    assert params.for_tenant("acme").evaluate.tokenize == "zh"
    assert params.for_tenant("acme").evaluate.select_decoding() == params.evaluate.select_decoding()


def test_an_unknown_tokenizer_is_refused_with_the_nearest_one(refused):
    problem = refused("base: {path: base}\nevaluate: {tokenize: ja_mecab}\n")
    assert "'ja-mecab'" in problem.wanted
    assert problem.fix == "did you mean 'ja-mecab'?"


@pytest.mark.parametrize(
    ("floors", "expected"),
    [
        ("{}", {}),
        ("{bleu: null}", {"rougeL": 30.0}),
        ("{bleu: null, rougeL: null}", {}),
        ("{bleu: 10.0}", {"bleu": 10.0, "rougeL": 30.0}),
        ("{chrf: 50.0}", {"bleu": 40.0, "rougeL": 30.0, "chrf": 50.0}),
    ],
)
def test_a_tenants_floors_are_merged_lifted_or_removed(tmp_path, floors, expected):
    path = tmp_path / "params.yaml"
    gate = "gate: {floors: {bleu: 40.0, rougeL: 30.0}, min_slice: 7}"
    path.write_text(f"base: {{path: base}}\n{gate}\ntenants: {{acme: {{gate: {{floors: {floors}}}}}}}\n")
    params = load_params(path)
    assert params.for_tenant("acme").gate.floors == expected
    assert params.for_tenant("acme").gate.min_slice == 7
    assert params.for_tenant("birch").gate.floors == {"bleu": 40.0, "rougeL": 30.0}


def test_a_floor_without_a_value_in_the_section_is_no_floor(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("base: {path: base}\ngate: {floors: {bleu: null, chrf: 50.0}}\n")
    assert load_params(path).gate.floors == {"chrf": 50.0}


def test_an_unknown_metric_without_a_value_is_refused(refused):
    assert "did you mean 'bleu'?" in refused("base: {path: base}\ngate: {floors: {blue: null}}\n").fix
