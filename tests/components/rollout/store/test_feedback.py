"""Feedback is saved and counted; a user's first opinion is evidence; corrections wait for their delivery."""

import pytest
from observations import read_observations

from components.errors import DataError
from components.rollout.store.evidence_writer import to_evidence, write_observations
from components.rollout.store.feedback import Feedback, mark_delivered, read_corrections, save_feedback
from components.rollout.types import EvidenceTicket, Observation

SECTION = 60_000
TICKET = EvidenceTicket(SECTION, 7)


def make_feedback(**changes):
    return Feedback(**{"tenant": "acme", "version": "2", "arm": "challenger", "request": "r", **changes})


def read_counts(database, *, evidence=False):
    rows = read_observations(database, "acme", ["2"], 0, 2**31 - 1, evidence=evidence)
    return [sum(getattr(one, name) for one in rows) for name in ("requests", "liked", "disliked")]


def test_a_user_s_first_opinion_is_evidence_beside_the_user_s_first_answer(database):
    answer = Observation(tenant="acme", version="2", arm="challenger", minute=1_000, requests=1)
    write_observations(database, [], [to_evidence(TICKET, answer)])
    for rating in (0.0, 1.0, 1.0):
        save_feedback(database, make_feedback(rating=rating), ticket=TICKET)
    assert read_counts(database, evidence=True) == [1, 0, 1]
    assert read_counts(database) == [0, 2, 1]


def test_a_second_opinion_on_an_answer_is_saved_and_not_counted(database):
    save_feedback(database, make_feedback(rating=0.9))
    save_feedback(database, make_feedback(source="a", corrected="b"), counts=False)
    assert read_counts(database) == [0, 1, 0]
    assert [one.corrected for _, one in read_corrections(database)] == ["b"]


def test_corrections_are_read_in_order_until_they_are_delivered(database):
    kept = [make_feedback(request=name, source=name, corrected="better") for name in ("r1", "r2", "r3")]
    save_feedback(database, make_feedback(rating=0.1))
    save_feedback(database, make_feedback(corrected="without a source"))
    for one in kept:
        save_feedback(database, one)
    (first, _), *others = corrections = read_corrections(database)
    assert [one for _, one in corrections] == kept
    mark_delivered(database, [first])
    assert read_corrections(database) == others


@pytest.mark.parametrize("text", ["half \ud800", "nul \0"])
def test_text_that_no_database_can_store_is_refused(database, text):
    with pytest.raises(DataError, match="whole characters"):
        save_feedback(database, make_feedback(corrected=text))
