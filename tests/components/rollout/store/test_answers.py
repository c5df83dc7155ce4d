"""Answers are read as they were written, and deleted by id and by age."""

import pytest

from components.rollout.store.answers import StoredAnswer, delete_answers_before, find_answer, write_answers
from components.rollout.types import EvidenceTicket


def make_answer(answer_id="cmpl-1", **changes):
    values = {"tenant": "acme", "version": "2", "arm": "challenger", "sources": ["a", "b", "a"], "at_s": 5.0}
    return StoredAnswer(id=answer_id, **{**values, **changes})


@pytest.mark.parametrize(
    "ticket", [None, EvidenceTicket(60, None), EvidenceTicket(60, 0), EvidenceTicket(60, 2**64 - 1)]
)
@pytest.mark.parametrize("user", [None, "ada", "nul \0 and half \ud800"])
def test_an_answer_is_read_as_it_was_written(database, ticket, user):
    written = make_answer(ticket=ticket, user=user, sources=["a", "nul \0 and half \ud800", "a"])
    write_answers(database, [written])
    assert find_answer(database, "cmpl-1") == written


def test_an_answer_is_written_once_and_many_are_written_together(database):
    write_answers(database, [make_answer(f"cmpl-{number}") for number in range(250)])
    write_answers(database, [make_answer("cmpl-7", tenant="birch")], [f"cmpl-{number}" for number in range(10, 240)])
    assert find_answer(database, "cmpl-7").tenant == "acme"
    kept = [number for number in range(250) if find_answer(database, f"cmpl-{number}")]
    assert kept == [*range(10), *range(240, 250)]


def test_old_answers_are_deleted(database):
    write_answers(database, [make_answer("cmpl-old", at_s=4.0), make_answer("cmpl-new", at_s=6.0)])
    delete_answers_before(database, 5.0)
    assert find_answer(database, "cmpl-old") is None
    assert find_answer(database, "cmpl-new") is not None
