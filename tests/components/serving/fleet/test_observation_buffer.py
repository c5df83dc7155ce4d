"""Observations wait for a failing database in order and within limits; only a user's first answer is evidence."""

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


def make_answer(minute, tenant="acme", **counts):
    return Observation(tenant=tenant, version="1", arm="champion", minute=minute, requests=1, **counts)


def count_by_minute(database, *, evidence=False):
    return [
        (one.minute, one.requests)
        for one in read_observations(database, "acme", ["1"], 1, 2**31 - 1, evidence=evidence)
    ]


def break_table(database):
    with database.transaction("to break it") as connection:
        connection.exec_driver_sql("ALTER TABLE prefixfleet_seen RENAME TO away")


def mend_table(database):
    with database.transaction("to mend it") as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO prefixfleet_seen")


def test_beyond_the_limit_the_oldest_counts_are_dropped_with_an_error_in_the_log(database, caplog):
    buffer = ObservationBuffer(database, max_entries=3)
    break_table(database)
    for minute in (1, 2, 3, 4):
        buffer.add(make_answer(minute))
        buffer.add_evidence(EvidenceTicket(60, minute), make_answer(minute))
        asyncio.run(buffer.flush())
    assert buffer.write_error
    assert buffer.dropped == 2
    assert "the oldest are dropped" in caplog.text
    buffer.add(make_answer(2))
    buffer.add_evidence(EvidenceTicket(60, 4), make_answer(5))
    mend_table(database)
    asyncio.run(buffer.flush())
    assert buffer.write_error == ""
    assert count_by_minute(database) == [(2, 2), (3, 1), (4, 1)]
    assert count_by_minute(database, evidence=True) == [(2, 1), (3, 1), (4, 1)], (
        "the first answer of a user stays the first"
    )


def test_beyond_the_limit_a_tenant_with_many_users_loses_its_own_counts(database):
    buffer = ObservationBuffer(database, max_entries=4)
    break_table(database)
    for tenant, places in (("birch", 2), ("acme", 50)):
        for place in range(places):
            buffer.add(make_answer(place, tenant))
            buffer.add_evidence(EvidenceTicket(60, place), make_answer(place, tenant))
    asyncio.run(buffer.flush())
    mend_table(database)
    asyncio.run(buffer.flush())
    for kind in (False, True):
        counts = {t: read_observations(database, t, ["1"], 0, 100, evidence=kind) for t in ("acme", "birch")}
        assert {tenant: [one.minute for one in found] for tenant, found in counts.items()} == {
            "birch": [0, 1],
            "acme": [48, 49],
        }


def test_counts_of_a_failed_write_are_older_than_newer_ones(database):
    buffer = ObservationBuffer(database, max_entries=2)
    break_table(database)
    buffer.add(make_answer(1))
    asyncio.run(buffer.flush())
    buffer.add(make_answer(2))
    buffer.add(make_answer(3))
    asyncio.run(buffer.flush())
    mend_table(database)
    asyncio.run(buffer.flush())
    assert (count_by_minute(database), buffer.dropped) == ([(2, 1), (3, 1)], 1)


def test_a_user_is_evidence_once_and_a_request_without_a_user_each_time(database):
    buffer = ObservationBuffer(database)
    for _ in range(3):
        buffer.add_evidence(EvidenceTicket(60, 5), make_answer(1))
        buffer.add_evidence(EvidenceTicket(60, None), make_answer(2))
    asyncio.run(buffer.flush())
    buffer.add_evidence(EvidenceTicket(60, 5), make_answer(3))
    asyncio.run(buffer.flush())
    assert count_by_minute(database, evidence=True) == [(1, 1), (2, 3)]
    assert count_by_minute(database) == []


def test_a_request_id_is_evidence_once_while_it_is_remembered_and_is_never_saved(database):
    buffer = ObservationBuffer(database, max_entries=2)
    for place in (5, 5, 6, 5, 7, 5, 6):  # 7 removes the oldest, 5, which then counts as new
        ticket = buffer.deduplicate_ticket("acme", EvidenceTicket(60, place))
        if ticket is not None:
            buffer.add_evidence(ticket, make_answer(1))
    assert buffer.deduplicate_ticket("acme", EvidenceTicket(60, None)) == EvidenceTicket(60, None)
    assert buffer.deduplicate_ticket("acme", EvidenceTicket(120, 6)) == EvidenceTicket(120, None)
    buffer.forget("birch")
    assert buffer.deduplicate_ticket("acme", EvidenceTicket(120, 6)) is None
    asyncio.run(buffer.flush())
    assert count_by_minute(database, evidence=True) == [(1, 5)]
    with database.connect("the counted keys") as connection:
        assert connection.execute(sql.select(COUNTED_KEYS)).all() == []
    buffer.forget("acme")
    assert buffer.deduplicate_ticket("acme", EvidenceTicket(120, 6)) == EvidenceTicket(120, None)


def test_nothing_of_a_forgotten_tenant_is_written(database):
    buffer = ObservationBuffer(database)
    buffer.add(make_answer(1))
    buffer.add_evidence(EvidenceTicket(60, 5), make_answer(1))
    buffer.forget("acme")
    asyncio.run(buffer.flush())
    assert count_by_minute(database) == count_by_minute(database, evidence=True) == []


def test_a_tenant_that_is_forgotten_during_a_failing_write_is_not_written_later(database):
    buffer = ObservationBuffer(database)
    break_table(database)
    for tenant in ("acme", "birch"):
        buffer.add(make_answer(1, tenant))
        buffer.add_evidence(EvidenceTicket(60, 5), make_answer(1, tenant))

    async def forget_during_write():
        writing = asyncio.create_task(buffer.flush())
        await asyncio.sleep(0)
        buffer.forget("acme")
        await writing

    asyncio.run(forget_during_write())
    assert buffer.write_error
    mend_table(database)
    asyncio.run(buffer.flush())
    assert count_by_minute(database) == count_by_minute(database, evidence=True) == []
    assert [one.requests for one in read_observations(database, "birch", ["1"], 1, 2, evidence=False)] == [1]
