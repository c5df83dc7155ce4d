"""Feedback is saved and counted; a user's first opinion is evidence; corrections wait for their delivery."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from observations import read_observations

from components.errors import DataError, WorkspaceError
from components.rollout.store.corrections import (
    list_tenants_with_corrections,
    mark_delivered,
    read_correction_origins,
    read_corrections,
)
from components.rollout.store.evidence_writer import to_evidence, write_observations
from components.rollout.store.feedback import Feedback, delete_ratings_before, save_feedback
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
    assert [(one.rating, one.corrected) for _, one in read_corrections(database, "acme")] == [(0.9, "b")]


def test_the_first_opinion_on_a_choice_counts_and_the_first_on_an_answer_is_evidence(database):
    request_ticket = EvidenceTicket(SECTION, None)
    for choice, key_id in ((0, "k1"), (0, "k1"), (0, "k2"), (1, "k1")):
        given = make_feedback(rating=0.0, choice=choice, key_id=key_id)
        save_feedback(database, given, counts="once", ticket=request_ticket)
    assert read_counts(database) == [0, 0, 2]
    assert read_counts(database, evidence=True) == [0, 0, 1]


def test_of_opinions_at_the_same_time_one_counts(database):
    def save(number):
        given = make_feedback(rating=0.0, key_id=f"k{number}")
        save_feedback(database, given, counts="once", ticket=EvidenceTicket(SECTION, None))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(8)))
    assert (read_counts(database), read_counts(database, evidence=True)) == ([0, 0, 1], [0, 0, 1])


def test_feedback_that_could_not_be_saved_counts_when_it_is_sent_again(database):
    with database.transaction("to break it") as connection:
        connection.exec_driver_sql("ALTER TABLE prefixfleet_seen RENAME TO away")
    with pytest.raises(WorkspaceError):
        save_feedback(database, make_feedback(rating=0.0), counts="once", ticket=TICKET)
    with database.transaction("to mend it") as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO prefixfleet_seen")
    save_feedback(database, make_feedback(rating=0.0), counts="once", ticket=TICKET)
    assert (read_counts(database), read_counts(database, evidence=True)) == ([0, 0, 1], [0, 0, 1])


def test_the_latest_feedback_of_a_key_on_a_choice_replaces_the_earlier(database):
    for number in range(5):
        save_feedback(database, make_feedback(key_id="k1", source="a", corrected=f"text {number}"))
    save_feedback(database, make_feedback(key_id="k1", rating=0.4))
    save_feedback(database, make_feedback(key_id="k2", source="a", corrected="other key"))
    save_feedback(database, make_feedback(key_id="k1", source="b", corrected="other choice", choice=1))
    kept = [(one.key_id, one.choice, one.corrected, one.rating) for _, one in read_corrections(database, "acme")]
    assert kept == [("k1", 0, "text 4", 0.4), ("k2", 0, "other key", None), ("k1", 1, "other choice", None)]


def test_a_delivered_correction_is_not_replaced_and_its_texts_are_deleted(database):
    assert save_feedback(database, make_feedback(source="a", corrected="b", end_user="ada")) == "saved"
    ((number, _),) = read_corrections(database, "acme")
    mark_delivered(database, [(number, "b", "d" * 64)])
    assert save_feedback(database, make_feedback(source="a", corrected="c")) == "delivered"
    assert save_feedback(database, make_feedback(rating=0.5)) == "saved"
    (origin,) = read_correction_origins(database, "acme")
    assert (origin.state, origin.end_user, origin.line_sha256) == ("delivered", "ada", "d" * 64)
    with database.connect("the texts") as connection:
        assert connection.exec_driver_sql("SELECT source, corrected FROM prefixfleet_feedback").all() == [(None, None)]


def test_a_correction_that_was_replaced_during_a_delivery_still_waits(database):
    save_feedback(database, make_feedback(source="a", corrected="b"))
    ((number, _),) = read_corrections(database, "acme")
    save_feedback(database, make_feedback(source="a", corrected="c"))
    mark_delivered(database, [(number, "b", "d" * 64)])
    assert [one.corrected for _, one in read_corrections(database, "acme")] == ["c"]


def test_a_tenants_waiting_corrections_are_limited_and_one_of_them_may_be_replaced(database):
    def send(request, tenant="acme", **values):
        texts = values or {"source": "a", "corrected": request}
        return save_feedback(database, make_feedback(tenant=tenant, request=request, **texts), max_waiting=2)

    assert [send(request) for request in ("r1", "r2", "r3", "r2")] == ["saved", "saved", "full", "saved"]
    assert send("r4", rating=0.1) == "saved"
    assert send("r1", "birch") == "saved"
    assert read_counts(database) == [0, 0, 4]


def test_many_corrections_are_marked_at_once(narrow_database):
    texts = {"source": "a", "corrected": "b"}
    for number in range(50):
        save_feedback(narrow_database, make_feedback(request=f"r{number}", **texts))
    rows = [(number, "b", "d" * 64 if number % 2 else None) for number in range(12_000)]
    mark_delivered(narrow_database, rows)
    assert read_corrections(narrow_database, "acme") == []


def test_old_ratings_are_deleted_and_corrections_are_kept(database):
    for year in ("2020", "2026"):
        at = f"{year}-01-01T00:00:00+00:00"
        save_feedback(database, make_feedback(request=f"rated in {year}", rating=1.0, at=at))
        save_feedback(database, make_feedback(request=f"corrected in {year}", source="a", corrected="b", at=at))
    delete_ratings_before(database, 26_822_880)  # the start of 2021, in minutes
    with database.connect("the feedback") as connection:
        kept = connection.exec_driver_sql("SELECT request FROM prefixfleet_feedback ORDER BY id").scalars().all()
    assert kept == ["corrected in 2020", "rated in 2026", "corrected in 2026"]


def test_corrections_are_read_in_order_until_they_are_delivered(database):
    kept = [make_feedback(request=name, source=name, corrected="better") for name in ("r1", "r2", "r3")]
    save_feedback(database, make_feedback(rating=0.1))
    save_feedback(database, make_feedback(request="r0", corrected="without a source"))
    for one in kept:
        save_feedback(database, one)
    (first, _), (second, _), third = corrections = read_corrections(database, "acme")
    assert [one for _, one in corrections] == kept
    assert list_tenants_with_corrections(database) == ["acme"]
    mark_delivered(database, [(first, "better", "e" * 64), (second, "better", None)])
    assert read_corrections(database, "acme") == [third]
    states = [one.state for one in read_correction_origins(database, "acme")]
    assert states == ["waiting", "delivered", "left out", "waiting"]
    mark_delivered(database, [(third[0], "better", "e" * 64)])
    assert list_tenants_with_corrections(database) == []


@pytest.mark.parametrize("text", ["half \ud800", "nul \0"])
def test_text_that_no_database_can_store_is_refused(database, text):
    with pytest.raises(DataError, match="whole characters"):
        save_feedback(database, make_feedback(corrected=text))
