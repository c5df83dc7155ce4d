import pytest

from components.errors import WorkspaceError
from components.evaluation.suites import meteor


@pytest.mark.slow
@pytest.mark.usefixtures("with_java")
def test_scores_of_examples_and_of_groups():
    """One process: the Java program takes seconds to load its paraphrase table."""
    texts = ["the cat sat", "xyz", "", "the | cat ||| sat", "a dog ran down the hill"]
    targets = [*[["the cat sat"]] * 4, ["a dog ran over the hill", "x"]]
    groups = [[0], [1], [2], [3], [4], [0, 4], [1, 2], [4, 0]]
    same, unrelated, empty, separators, near, two, none, swapped = meteor.compute_scores(texts, targets, groups)
    assert same == pytest.approx(1)
    assert unrelated == empty == none == 0
    assert 0 < separators < 1
    assert near < two < same, "a group has a score of its own, between those of its examples"
    assert two == swapped


def test_a_failing_program_is_reported_with_its_last_message(failing_java):
    with pytest.raises(WorkspaceError, match=r"the program ended; no memory"):
        meteor.compute_scores(["a"], [["a"]], [[0]])
