"""Exact match and JSON validity."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.config import GateConfig, NonInferiorityConfig
from components.errors import GateError
from components.evaluation.metrics import compute_corpus_score, compute_sentence_statistics
from components.evaluation.self_check import require_full_marks
from components.evaluation.whole_texts import compute_exact_matches, is_json

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("prediction", "references", "hit"),
    [
        (" a b\n", ["x", "a b"], True),
        ("A b", ["a b"], False),
        ('{"b": [1, 2.0], "a": null}', ['{"a":null,"b":[1.0,2]}'], True),
        ('{"a": true}', ['{"a": 1}'], False),
        ("[1, 2]", ["[2, 1]"], False),
        ('{"a": 1} ok', ['{"a": 1}'], False),
        ("1", ["1.0"], False),
        ("", ["a"], False),
    ],
)
def test_exact_match(prediction: str, references: list[str], hit: bool) -> None:
    assert list(compute_exact_matches([prediction], [references])) == [(float(hit), 1.0)]
    score = compute_corpus_score(
        "exact_match", compute_sentence_statistics("exact_match", [prediction, "q"], [references, ["q"]], True)
    )
    assert score == (100 if hit else 50)


@given(value=ANY, text=st.text())
def test_only_objects_and_arrays_are_json(value: Any, text: str) -> None:
    written = json.dumps(value, indent=1)
    assert is_json(written) == isinstance(value, dict | list)
    assert list(compute_exact_matches([written], [[json.dumps(value)]])) == [(1.0, 1.0)] or not is_json(written)
    assert not is_json(f"{text}{{")


def test_validity_is_gated_only_where_references_are_json() -> None:
    parts = {"all": [0, 1]}
    require_full_marks("json_valid", [["{}"], ["[1]"]], parts, True, "13a", "acme")
    require_full_marks("exact_match", [["yes"], ["no"]], parts, True, "13a", "acme")
    with pytest.raises(GateError, match="references that are JSON objects or arrays"):
        require_full_marks("json_valid", [["{}"], ["a"]], parts, True, "13a", "acme")
    rule = NonInferiorityConfig(metric="exact_match", margin=1.0)
    assert GateConfig(floors={"json_valid": 99.0, "exact_match": None}, non_inferiority=[rule]).floors == {
        "json_valid": 99.0
    }
