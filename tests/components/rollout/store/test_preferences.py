"""Choices in blind comparisons: saved as feedback on the newer version, replaced, counted, no evidence."""

from observations import read_observations

from components.evaluation.preference import PreferenceTally
from components.rollout.store.corrections import read_corrections
from components.rollout.store.feedback import Feedback, read_newest_feedback
from components.rollout.store.preferences import Preference, describe_choice, find_chosen, read_tally, save_preference
from components.rollout.store.removal import list_remaining_rows, remove_rows
from components.rollout.store.tables import FEEDBACK


def choose(database, choice, **changes):
    values = {
        "tenant": "acme",
        "first": "1",
        "second": "2",
        "second_arm": "challenger",
        "example": "a",
        "person": "Ada",
    }
    save_preference(database, Preference(**{**values, "choice": choice, **changes}))


def test_choices_are_feedback_on_the_newer_version_by_a_person_and_no_evidence(database):
    choose(database, "second")
    with database.connect("the feedback") as connection:
        (row,) = connection.execute(FEEDBACK.select()).all()
    assert (row.tenant, row.version, row.arm, row.rating, row.end_user) == ("acme", "2", "challenger", 1.0, "Ada")
    assert read_observations(database, "acme", ["1", "2"], 0, 2**31 - 1) == []
    assert read_corrections(database, "acme") == []
    remove_rows(database, "acme")
    assert list_remaining_rows(database, "acme") == []


def test_a_person_s_later_choice_on_an_example_replaces_the_earlier_one(database):
    choose(database, "second")
    choose(database, "first")
    choose(database, "second", person="Bob")
    choose(database, "neither", example="b")
    assert read_tally(database, "acme", "1", "2") == PreferenceTally(first=1, second=1, neither=1)
    assert find_chosen(database, "acme", "1", "2", "Ada", ["a", "b", "c"]) == {"a", "b"}
    assert find_chosen(database, "acme", "1", "2", "Bob", ["a", "b", "c"]) == {"a"}


def test_each_pair_of_versions_has_its_own_tally(database):
    choose(database, "second")
    choose(database, "first", first="11")
    choose(database, "first", second="20")
    choose(database, "first", tenant="other")
    assert read_tally(database, "acme", "1", "2") == PreferenceTally(second=1)
    assert read_tally(database, "acme", "1", "3") == PreferenceTally()


def test_a_choice_is_told_by_its_versions_and_other_feedback_is_none(database):
    for choice, words in (("second", "version 2 preferred"), ("first", "version 1 preferred"), ("neither", "no pref")):
        choose(database, choice)
        (feedback,) = read_newest_feedback(database, "acme", 5)
        assert describe_choice(feedback).startswith(f"blind comparison with version 1: {words}")
    for request in ("cmpl-1", "blind:1", "blind:1:2:3", "blinder:1:2:3:4"):
        assert describe_choice(Feedback(tenant="acme", version="2", arm="champion", request=request, rating=1.0)) == ""
