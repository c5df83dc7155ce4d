"""Who has been counted is known to all servers and after a start, on a real SQLite and a real PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql
from seen import observed

from components.rollout.store.database import open_database_url
from components.rollout.store.evidence_writer import to_evidence, write_observations
from components.rollout.store.feedback import Feedback, save_feedback
from components.rollout.store.observations import delete_observations_before
from components.rollout.store.removal import list_remaining_rows, remove_rows
from components.rollout.store.tables import COUNTED_KEYS
from components.rollout.store.tenant_state import write_states
from components.rollout.types import EvidenceTicket, Observation, RolloutState, ShareChange

MINUTE = 1_000
SECTION = 60 * MINUTE
USERS = [0, 1, 2**63 - 1, 2**63, 2**64 - 1]
"""Places, among them the least and the greatest."""


@pytest.fixture
def server(database_url):
    """Opens the database as another server would, or the same one after a start."""
    opened = []

    def start():
        opened.append(open_database_url(database_url))
        return opened[-1]

    yield start
    for database in opened:
        database.close()


def answer(arm="challenger", minute=MINUTE, **counts):
    return Observation(tenant="acme", version="2", arm=arm, minute=minute, **{"requests": 1, **counts})


def evidence(database):
    return observed(database, "acme", ["1", "2"], MINUTE, 2**31 - 1, evidence=True)


def counted(database):
    with database.connect("who was counted") as connection:
        return connection.execute(sql.select(COUNTED_KEYS).where(COUNTED_KEYS.c.tenant == "acme")).all()


def test_a_user_counts_once_whichever_servers_answer_and_however_often_they_start(server):
    def write(turn):
        database = server()
        for number in range(5):
            answers = [to_evidence(EvidenceTicket(SECTION, user), answer(errors=number % 2)) for user in USERS]
            write_observations(database, [answer()] * 5, answers if turn % 2 else reversed(answers))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    write(4)
    database = server()
    assert sum(one.requests for one in evidence(database)) == len(USERS)
    assert sum(one.requests for one in observed(database, "acme", ["2"], 0, 2**31 - 1)) == 5 * 5 * 5


def test_in_the_next_section_a_user_counts_again_and_a_request_always(server):
    database = server()
    for section in (SECTION, SECTION, SECTION + 600):
        write_observations(database, [], [to_evidence(EvidenceTicket(section, 7), answer())])
    write_observations(database, [], [to_evidence(EvidenceTicket(SECTION, None), answer(minute=MINUTE + 1))] * 3)
    assert [(one.section, one.minute, one.requests) for one in evidence(database)] == [
        (SECTION, MINUTE, 1),
        (SECTION, MINUTE + 1, 3),
        (SECTION + 600, MINUTE, 1),
    ]


def test_a_shadow_s_pair_counts_whole_or_not_at_all(server):
    database = server()
    for wrong in (0, 1):
        pair = answer("champion", errors=wrong), answer("challenger", errors=wrong)
        write_observations(database, [], [to_evidence(EvidenceTicket(SECTION, 7), *pair)])
    assert [(one.arm, one.requests, one.errors) for one in evidence(database)] == [
        ("challenger", 1, 0),
        ("champion", 1, 0),
    ]


def test_a_user_s_first_opinion_counts_beside_his_first_answer(server):
    database = server()
    write_observations(database, [], [to_evidence(EvidenceTicket(SECTION, 7), answer())])
    for rating in (0.0, 1.0, 1.0):
        said = Feedback(tenant="acme", version="2", arm="challenger", request="r", rating=rating)
        save_feedback(database, said, ticket=EvidenceTicket(SECTION, 7))
    found = evidence(database)
    assert [sum(getattr(one, name) for one in found) for name in ("requests", "liked", "disliked")] == [1, 0, 1]
    assert sum(one.liked for one in observed(database, "acme", ["2"], 0, 2**31 - 1)) == 2


def test_who_was_counted_goes_with_the_trial_with_the_tenant_and_with_time(server):
    database = server()

    def stand(**values):
        with database.transaction("a standing") as connection:
            write_states(connection, [RolloutState(tenant="acme", **values)])

    write_observations(database, [], [to_evidence(EvidenceTicket(SECTION, user), answer()) for user in USERS])
    trial = (ShareChange(SECTION, 0.1),)
    stand(challenger="2", changes=trial)
    stand(challenger="2", changes=(*trial, ShareChange(SECTION + 600, 0.5)))  # the next step of the same trial
    assert len(counted(database)) == len(USERS)
    stand(challenger="3", changes=(ShareChange(SECTION + 1200, 0.1),))
    assert counted(database) == []

    write_observations(database, [], [to_evidence(EvidenceTicket(SECTION, 7), answer())])
    stand(champion="3")
    assert counted(database) == []
    write_observations(
        database, [], [to_evidence(EvidenceTicket(SECTION, 7), answer())]
    )  # by a server that has not heard of it yet
    delete_observations_before(database, MINUTE + 1)
    assert counted(database) == []
    write_observations(database, [], [to_evidence(EvidenceTicket(SECTION, 7), answer())])
    remove_rows(database, "acme")
    assert list_remaining_rows(database, "acme") == []
