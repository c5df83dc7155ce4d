"""The score of drifted requests: 0 for requests like the training data, at any number of them."""

import random

import pytest

from components.rollout.policy.input_drift import compute_input_drift
from components.rollout.policy.input_profile import InputCounts, make_input_profile

WORDS = [f"w{number}" for number in range(60)]


def make_sources(count, seed, words=WORDS, lengths=(4, 12)):
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=draw.randint(*lengths))) for _ in range(count)]


def count_all(profile, sources):
    return sum((profile.count(one) for one in sources), InputCounts())


@pytest.fixture(scope="module")
def profile():
    return make_input_profile(make_sources(300, 1), make_sources(60, 2))


@pytest.mark.parametrize("count", [1, 20, 200, 2_000])
@pytest.mark.parametrize("seed", range(3, 8))
def test_requests_like_the_training_data_have_almost_no_score(profile, count, seed):
    assert compute_input_drift(profile, count_all(profile, make_sources(count, seed))).score < 0.05


def test_longer_inputs_have_a_score_by_their_length_alone(profile):
    drift = compute_input_drift(profile, count_all(profile, make_sources(300, 3, lengths=(20, 30))))
    assert drift.length > 0.8
    assert (drift.words, drift.values) == (0.0, 0.0)
    assert drift.score == drift.length
    assert drift.sentence.startswith("requests differ from the training data by 0.")
    assert drift.to_json()["score"] == drift.score


def test_unknown_words_have_a_score_near_their_share(profile):
    mixed = WORDS[:30] + [f"new{number}" for number in range(30)]
    drift = compute_input_drift(profile, count_all(profile, make_sources(500, 3, words=mixed)))
    assert 0.4 < drift.words < 0.55
    assert drift.length < 0.05


def test_unknown_values_of_attributes_have_a_score_of_their_own():
    train = [f"size : {size} | colour : {colour}" for size in range(5) for colour in ("red", "blue")] * 10
    profile = make_input_profile(train, train)
    swapped = ["size : red | colour : 3"] * 200
    drift = compute_input_drift(profile, count_all(profile, swapped))
    assert (drift.words, drift.values > 0.8) == (0.0, True)


def test_without_requests_there_is_no_score(profile):
    assert compute_input_drift(profile, InputCounts()).score == 0.0
