from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.errors import DataError
from components.evaluation.suites.alignment import align_outputs, normalize_input
from components.evaluation.suites.references import References
from components.evaluation.suites.system_outputs import SystemOutputs


def predictions(texts, inputs=None, plain=True):
    return SystemOutputs(Path("out"), texts, range(1, len(texts) + 1), inputs, plain and inputs is None)


def references(count, inputs=None, rows=0):
    texts = [[f"r{number}"] for number in range(count)]
    return References(Path("ref"), texts, range(1, count + 1), inputs, None, rows or count)


@given(order=st.permutations(range(6)), repeated=st.lists(st.integers(0, 5), max_size=4))
def test_named_inputs_may_have_any_order_and_be_repeated(order, repeated):
    numbers = [*order, *repeated]
    aligned = align_outputs(
        predictions([f"p{number}" for number in numbers], [f"i{number}" for number in numbers]),
        references(6, [f"i{number}" for number in range(6)]),
    )
    assert aligned.predictions == [f"p{number}" for number in range(6)]
    assert aligned.aligned_by == "input"


def test_e2es_format_and_prefixfleets_are_the_same_input():
    ours = "name : Blue Spice | eatType : coffee shop"
    assert normalize_input("name[Blue Spice],  eatType[coffee shop]") == normalize_input(ours) == ours
    assert normalize_input(" a  b ") == "a b"


def test_inputs_that_are_repeated_in_both_files_are_paired_by_line():
    aligned = align_outputs(predictions(["a", "b"], ["x", "x"]), references(2, ["x", "x"]))
    assert aligned.predictions == ["a", "b"]
    with pytest.raises(DataError, match="the same input in several lines"):
        align_outputs(predictions(["a", "b", "c"], ["x", "x", "y"]), references(3, ["y", "x", "x"]))


@pytest.mark.parametrize(
    ("predicted", "known", "message"),
    [
        (["x", "z"], ["x", "y"], "2 inputs of predictions, 2 of references; out, line 2, .*'z'"),
        (["x"], ["x", "y"], "1 inputs of predictions, 2 of references; none for the input of ref, line 2: 'y'"),
        (["x", "y", "x"], ["x", "y"], "two, in lines 1 and 3 of out"),
    ],
)
def test_inputs_that_do_not_match_are_refused(predicted, known, message):
    texts = [f"p{number}" for number in range(len(predicted))]
    with pytest.raises(DataError, match=message):
        align_outputs(predictions(texts, predicted), references(len(known), known))


@pytest.mark.parametrize(
    ("count", "expected", "message"),
    [
        (3, 2, "3 predictions, 2 sets of references; out, line 3, has no references: 'p2'"),
        (1, 3, "1 predictions, 3 sets of references; none for example 2, ref, line 2: 'r1'"),
    ],
)
def test_counts_that_differ_are_refused_with_the_first_line(count, expected, message):
    with pytest.raises(DataError, match=message):
        align_outputs(predictions([f"p{number}" for number in range(count)]), references(expected))


def test_one_prediction_for_each_row_of_references_needs_named_inputs():
    with pytest.raises(DataError, match="add a column of inputs to both files"):
        align_outputs(predictions(["p"] * 5), references(2, ["x", "y"], rows=5))


def test_blank_lines_at_the_end_are_not_predictions():
    assert align_outputs(predictions(["a", "b", "", ""]), references(2)).predictions == ["a", "b"]
    assert align_outputs(predictions(["a", ""]), references(2)).predictions == ["a", ""]
    with pytest.raises(DataError):
        align_outputs(predictions(["a", "b", ""], plain=False), references(2))
