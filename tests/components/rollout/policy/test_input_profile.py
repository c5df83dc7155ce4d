"""Profiles of training inputs: what is unknown in other inputs, without keeping any text."""

import json

import pytest

from components.rollout.policy.input_profile import InputCounts, InputProfile, make_input_profile, to_length_bucket

RECORDS = [f"name : Inn {number} | food : {food}" for number in range(10) for food in ("Thai", "French")]


def test_words_and_values_that_training_did_not_have_are_counted():
    profile = make_input_profile(RECORDS, ["name : Inn 3 | food : Greek"])
    assert profile.form == "key : value | key : value"
    assert (profile.training.inputs, profile.training.unknown_words, profile.training.unknown_fields) == (20, 0, 0)
    assert (profile.held_out.unknown_words, profile.held_out.unknown_fields) == (1, 1)
    seen = profile.count("name : Thai | food : Inn 2")
    assert (seen.words, seen.unknown_words) == (8, 0), "every word is known"
    assert (seen.fields, seen.unknown_fields) == (2, 2), "but not as values of these attributes"
    assert profile.count("NAME : inn 4 | food : thai").unknown_fields == 0


def test_plain_text_has_no_values_and_characters_of_scripts_without_spaces_are_words():
    profile = make_input_profile(["红色的船", "蓝色的灯"], [])
    assert profile.form == ""
    seen = profile.count("红色的书")
    assert (seen.fields, seen.words, seen.unknown_words) == (0, 4, 1)


@pytest.mark.parametrize(("words", "bucket"), [(0, 0), (1, 0), (2, 4), (3, 7), (16, 16)])
def test_lengths_are_in_buckets_of_a_quarter_of_a_doubling(words, bucket):
    assert to_length_bucket("a " * words) == bucket


def test_few_unknown_words_are_taken_for_known_ones_and_no_known_one_for_unknown():
    known = [f"word{number}" for number in range(2_000)]
    profile = make_input_profile([" ".join(known[at : at + 100]) for at in range(0, 2_000, 100)], [])
    assert all(profile.count(word).unknown_words == 0 for word in known)
    missed = sum(profile.count(f"other{number}").unknown_words == 0 for number in range(2_000))
    assert missed < 60


def test_a_profile_survives_json_and_holds_no_text():
    profile = make_input_profile(RECORDS, RECORDS[:3])
    text = json.dumps(profile.to_json())
    assert InputProfile.from_json(json.loads(text)) == profile
    assert not any(word in text for word in ("Inn", "inn", "Thai", "food"))


def test_counts_add_up():
    one = InputCounts(inputs=1, words=3, lengths={4: 1})
    assert one + InputCounts(inputs=2, unknown_words=1, lengths={4: 1, 5: 1}) == InputCounts(
        inputs=3, words=3, unknown_words=1, lengths={4: 2, 5: 1}
    )


def test_a_very_long_input_is_looked_up_in_part():
    assert make_input_profile(["a"], []).count("b " * 9_000).words == 500
