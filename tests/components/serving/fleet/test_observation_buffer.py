"""What serving saw waits for its database within bounds, in order, and each user's first answer alone is evidence."""

import asyncio

import pytest
import sqlalchemy as sql
from observations import read_observations

from components.rollout.store.database import open_database_url
from components.rollout.store.tables import COUNTED_KEYS
from components.rollout.types import EvidenceTicket, Observation
from components.serving.fleet.observation_buffer import ObservationBuffer


@pytest.fixture
def database(tmp_path):
    opened = open_database_url(f"sqlite:///{tmp_path}/db")
    yield opened
    opened.close()


def answer(minute, tenant="acme", **counts):
    return Observation(tenant=tenant, version="1", arm="champion", minute=minute, requests=1, **counts)


def minutes(database, *, evidence=False):
    return [
        (one.minute, one.requests)
        for one in read_observations(database, "acme", ["1"], 1, 2**31 - 1, evidence=evidence)
    ]


def break_(database):
    with database.transaction("to break it") as connection:
        connection.exec_driver_sql("ALTER TABLE prefixfleet_seen RENAME TO away")


def mend(database):
    with database.transaction("to mend it") as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO prefixfleet_seen")


def test_what_waits_for_long_is_dropped_the_oldest_first_and_told(database, caplog):
    watch = ObservationBuffer(database, max_entries=3)
    break_(database)
    for minute in (1, 2, 3, 4):
        watch.add(answer(minute))
        watch.add_evidence(EvidenceTicket(60, minute), answer(minute))
        asyncio.run(watch.flush())
    assert watch.write_error
    assert watch.dropped == 2
    assert "the oldest are dropped" in caplog.text
    watch.add(answer(2))
    watch.add_evidence(EvidenceTicket(60, 4), answer(5))
    mend(database)
    asyncio.run(watch.flush())
    assert watch.write_error == ""
    assert minutes(database) == [(2, 2), (3, 1), (4, 1)]
    assert minutes(database, evidence=True) == [(2, 1), (3, 1), (4, 1)], "a user's first answer stays his first"


def test_what_comes_between_a_failure_and_the_next_try_is_younger(database):
    watch = ObservationBuffer(database, max_entries=2)
    break_(database)
    watch.add(answer(1))
    asyncio.run(watch.flush())
    watch.add(answer(2))
    watch.add(answer(3))
    asyncio.run(watch.flush())
    mend(database)
    asyncio.run(watch.flush())
    assert (minutes(database), watch.dropped) == ([(2, 1), (3, 1)], 1)


def test_a_user_counts_once_and_requests_of_nobody_each(database):
    watch = ObservationBuffer(database)
    for _ in range(3):
        watch.add_evidence(EvidenceTicket(60, 5), answer(1))
        watch.add_evidence(EvidenceTicket(60, None), answer(2))
    asyncio.run(watch.flush())
    watch.add_evidence(EvidenceTicket(60, 5), answer(3))
    asyncio.run(watch.flush())
    assert minutes(database, evidence=True) == [(1, 1), (2, 3)]
    assert minutes(database) == []


def test_a_request_s_own_id_is_evidence_once_as_long_as_it_is_remembered_and_is_not_kept(database):
    watch = ObservationBuffer(database, max_entries=2)
    for place in (5, 5, 6, 5, 7, 5, 6):  # at 7 the oldest, 5, is forgotten, and comes as a new one
        ticket = watch.deduplicate_ticket("acme", EvidenceTicket(60, place))
        if ticket is not None:
            watch.add_evidence(ticket, answer(1))
    assert watch.deduplicate_ticket("acme", EvidenceTicket(60, None)) == EvidenceTicket(60, None)
    assert watch.deduplicate_ticket("acme", EvidenceTicket(120, 6)) == EvidenceTicket(120, None)
    watch.forget("birch")
    assert watch.deduplicate_ticket("acme", EvidenceTicket(120, 6)) is None
    asyncio.run(watch.flush())
    assert minutes(database, evidence=True) == [(1, 5)]
    with database.connect("who was counted") as connection:
        assert connection.execute(sql.select(COUNTED_KEYS)).all() == []
    watch.forget("acme")
    assert watch.deduplicate_ticket("acme", EvidenceTicket(120, 6)) == EvidenceTicket(120, None)


def test_nothing_is_written_of_a_forgotten_tenant(database):
    watch = ObservationBuffer(database)
    watch.add(answer(1))
    watch.add_evidence(EvidenceTicket(60, 5), answer(1))
    watch.forget("acme")
    asyncio.run(watch.flush())
    assert minutes(database) == minutes(database, evidence=True) == []


def test_a_tenant_that_is_forgotten_while_a_write_fails_does_not_come_back(database):
    watch = ObservationBuffer(database)
    break_(database)
    for tenant in ("acme", "birch"):
        watch.add(answer(1, tenant))
        watch.add_evidence(EvidenceTicket(60, 5), answer(1, tenant))

    async def race():
        writing = asyncio.create_task(watch.flush())
        await asyncio.sleep(0)
        watch.forget("acme")
        await writing

    asyncio.run(race())
    assert watch.write_error
    mend(database)
    asyncio.run(watch.flush())
    assert minutes(database) == minutes(database, evidence=True) == []
    assert [one.requests for one in read_observations(database, "birch", ["1"], 1, 2, evidence=False)] == [1]
