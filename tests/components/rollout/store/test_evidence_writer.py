"""One answer of each key and section is evidence, over all servers and restarts."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from observations import read_observations

from components.rollout.store.database import open_database_url
from components.rollout.store.evidence_writer import to_evidence, write_observations
from components.rollout.types import EvidenceTicket, Observation

MINUTE = 1_000
SECTION = 60 * MINUTE
USERS = [0, 1, 2**63 - 1, 2**63, 2**64 - 1]
"""Places, among them the smallest and the largest."""


@pytest.fixture
def start_server(database_url):
    """A function that opens the database, as another server or the same one after a restart."""
    opened = []

    def start():
        opened.append(open_database_url(database_url))
        return opened[-1]

    yield start
    for database in opened:
        database.close()


def make_answer(arm="challenger", minute=MINUTE, **counts):
    return Observation(tenant="acme", version="2", arm=arm, minute=minute, **{"requests": 1, **counts})


def read_evidence(database):
    return read_observations(database, "acme", ["1", "2"], MINUTE, 2**31 - 1, evidence=True)


def test_a_user_counts_once_over_all_servers_and_restarts(start_server):
    def write(turn):
        database = start_server()
        for number in range(5):
            answers = [to_evidence(EvidenceTicket(SECTION, user), make_answer(errors=number % 2)) for user in USERS]
            write_observations(database, [make_answer()] * 5, answers if turn % 2 else reversed(answers))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    write(4)
    database = start_server()
    assert sum(one.requests for one in read_evidence(database)) == len(USERS)
    assert sum(one.requests for one in read_observations(database, "acme", ["2"], 0, 2**31 - 1)) == 5 * 5 * 5


def test_a_user_counts_again_in_the_next_section_and_a_request_without_user_always(database):
    for section in (SECTION, SECTION, SECTION + 600):
        write_observations(database, [], [to_evidence(EvidenceTicket(section, 7), make_answer())])
    write_observations(database, [], [to_evidence(EvidenceTicket(SECTION, None), make_answer(minute=MINUTE + 1))] * 3)
    assert [(one.section, one.minute, one.requests) for one in read_evidence(database)] == [
        (SECTION, MINUTE, 1),
        (SECTION, MINUTE + 1, 3),
        (SECTION + 600, MINUTE, 1),
    ]


def test_both_answers_of_a_shadow_count_or_none(database):
    for wrong in (0, 1):
        pair = make_answer("champion", errors=wrong), make_answer("challenger", errors=wrong)
        write_observations(database, [], [to_evidence(EvidenceTicket(SECTION, 7), *pair)])
    assert [(one.arm, one.requests, one.errors) for one in read_evidence(database)] == [
        ("challenger", 1, 0),
        ("champion", 1, 0),
    ]
