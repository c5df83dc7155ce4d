"""Every number is compared with sacrebleu's own."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.lib_ter import BeamEditDistance, translation_edit_rate

from components.evaluation.ter import (
    _compute_edit_lower_bound,
    _count_edits,
    _EditDistanceToTarget,
    compute_ter_statistics,
)

words = st.lists(st.sampled_from("abcde"), max_size=14)


@settings(max_examples=300, deadline=None)
@given(prediction=words, target=words)
def test_edits_to_one_reference_equal_sacrebleus(prediction, target):
    official = translation_edit_rate(prediction, target)[0]
    assert _count_edits(prediction, target) == official
    assert _compute_edit_lower_bound(prediction, target) <= official


@settings(max_examples=100, deadline=None)
@given(prediction=words, targets=st.lists(words, min_size=1, max_size=5))
def test_edits_to_the_nearest_of_many_references_equal_sacrebleus(prediction, targets):
    scores = [translation_edit_rate(prediction, target) for target in targets]
    mean = sum(length for _, length in scores) / len(scores)
    assert compute_ter_statistics(prediction, targets) == (min(edits for edits, _ in scores), mean)


@settings(max_examples=100, deadline=None)
@given(
    lengths=st.tuples(st.integers(0, 70), st.integers(1, 70)),
    letters=st.sampled_from(["ab", "abcdefghijkl"]),
    seed=st.integers(0, 10_000),
)
def test_distances_beyond_sacrebleus_band(lengths, letters, seed):
    """sacrebleu's band of 25 words can miss the best path of long sentences; the result must be the same here."""
    rng = random.Random(seed)
    prediction, target = ([rng.choice(letters) for _ in range(length)] for length in lengths)
    assert _EditDistanceToTarget(target)(prediction)[0] == BeamEditDistance(target)(prediction)[0]


@pytest.mark.parametrize("length", [25, 40])
def test_long_sentences_with_shifted_halves(length):
    target = [str(i % (length - 3)) for i in range(length)]
    prediction = target[length // 2 :] + target[: length // 2]
    assert _count_edits(prediction, target) == translation_edit_rate(prediction, target)[0]
