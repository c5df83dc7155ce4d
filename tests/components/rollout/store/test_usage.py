"""Usage by tenant and day: each batch is added once, sums are exact, and nothing of a forgotten tenant remains."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import sqlalchemy as sql
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import WorkspaceError
from components.rollout.store.database import open_database_url
from components.rollout.store.removal import list_remaining_rows, remove_rows
from components.rollout.store.usage import Usage, UsageKey, add_served, read_usage
from components.rollout.store.usage_records import Training, add_trainings, write_stored_bytes
from components.rollout.store.usage_tables import SERVED, STORED_BYTES, TRAININGS, USAGE_WRITERS

DAY = 20_000


def make(count=1, **amounts):
    return Usage(requests=count, input_tokens=3 * count, output_tokens=2 * count, serving_us=7 * count, **amounts)


def test_increments_of_several_writers_add_up_by_tenant_and_day(database):
    add_served(database, "one", 1, {UsageKey("acme", DAY): make(2), UsageKey("birch", DAY): make()})
    add_served(database, "two", 1, {UsageKey("acme", DAY): make(), UsageKey("acme", DAY + 1): make(5)})
    by_day = read_usage(database, DAY, DAY + 1, by_day=True)
    assert by_day == {
        UsageKey("acme", DAY): make(3),
        UsageKey("acme", DAY + 1): make(5),
        UsageKey("birch", DAY): make(),
    }
    assert read_usage(database, DAY, DAY + 1) == {UsageKey("acme", DAY): make(8), UsageKey("birch", DAY): make()}
    assert read_usage(database, DAY + 1, DAY + 1, tenants=["acme"]) == {UsageKey("acme", DAY + 1): make(5)}
    assert read_usage(database, DAY, DAY + 1, tenants=[]) == {}
    many = [f"tenant-{number}" for number in range(1000)]
    assert read_usage(database, DAY, DAY, tenants=[*many, "birch"]) == {UsageKey("birch", DAY): make()}


def test_a_batch_that_is_sent_again_is_added_once(database):
    batch = {UsageKey("acme", DAY): make()}
    assert add_served(database, "one", 1, batch)
    assert not add_served(database, "one", 1, batch)
    assert add_served(database, "one", 2, batch)
    assert not add_served(database, "one", 1, batch)
    assert not add_served(database, "one", 3, {})
    assert read_usage(database, DAY, DAY) == {UsageKey("acme", DAY): make(2)}


def test_a_batch_whose_commit_was_lost_on_its_way_back_is_added_once(database, monkeypatch):
    transaction = database.transaction

    @contextmanager
    def commit_and_fail(wanted):
        with transaction(wanted) as connection:
            yield connection
        raise WorkspaceError("an answer", "none", "try again")

    batch = {UsageKey("acme", DAY): make()}
    monkeypatch.setattr(database, "transaction", commit_and_fail)
    with pytest.raises(WorkspaceError):
        add_served(database, "one", 1, batch)
    monkeypatch.undo()
    add_served(database, "one", 1, batch)
    assert read_usage(database, DAY, DAY) == {UsageKey("acme", DAY): make()}


def test_writers_at_the_same_time_lose_nothing_and_do_not_wait_for_each_other_forever(database):
    tenants = [f"tenant-{number}" for number in range(20)]

    def write(writer):
        for number in range(1, 11):
            order = tenants if writer % 2 else tenants[::-1]
            add_served(database, f"writer-{writer}", number, {UsageKey(tenant, DAY): make() for tenant in order})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert read_usage(database, DAY, DAY) == {UsageKey(tenant, DAY): make(40) for tenant in sorted(tenants)}


def test_a_writer_that_ended_long_ago_is_not_known_any_more(database):
    add_served(database, "old", 1, {UsageKey("acme", DAY): make()})
    add_served(database, "recent", 1, {UsageKey("acme", DAY + 80): make()})
    add_served(database, "new", 1, {UsageKey("acme", DAY + 91): make()})
    with database.connect("the writers") as connection:
        assert sorted(connection.execute(sql.select(USAGE_WRITERS.c.id)).scalars()) == ["new", "recent"]


def test_nothing_of_a_forgotten_tenant_remains(database):
    for tenant in ("acme", "birch"):
        add_served(database, tenant, 1, {UsageKey(tenant, DAY): make()})
        add_trainings(database, [Training(tenant=tenant, id="1", day=DAY, device_us=5, tokens=6)])
    write_stored_bytes(database, DAY, {"acme": 10, "birch": 20})
    assert len(list_remaining_rows(database, "acme")) == 3
    remove_rows(database, "acme")
    assert list_remaining_rows(database, "acme") == []
    assert {key.tenant for key in read_usage(database, 0, DAY)} == {"birch"}


amounts = st.integers(0, 10**12)
batches = st.lists(
    st.dictionaries(
        st.builds(UsageKey, st.sampled_from(["a", "b", "c"]), st.integers(DAY, DAY + 40)),
        st.builds(Usage, requests=amounts, input_tokens=amounts, output_tokens=amounts, serving_us=amounts),
        max_size=8,
    ),
    max_size=5,
)
stored = st.dictionaries(
    st.integers(DAY - 10, DAY + 40), st.dictionaries(st.sampled_from(["a", "b", "c"]), amounts), max_size=4
)


@pytest.fixture(scope="module")
def memory():
    opened = open_database_url("sqlite://")
    yield opened
    opened.close()


@settings(deadline=None)
@given(served=batches, stored=stored, first=st.integers(DAY - 3, DAY + 20), length=st.integers(1, 25))
def test_days_add_up_to_their_period_and_periods_to_the_whole(memory, served, stored, first, length):
    database = memory
    with database.transaction("an empty database") as connection:
        for table in (SERVED, TRAININGS, STORED_BYTES, USAGE_WRITERS):
            connection.execute(sql.delete(table))
    for number, batch in enumerate(served, 1):
        add_served(database, "one", number, batch)
    add_trainings(
        database,
        [
            Training(tenant=key.tenant, id=str(key.day), day=key.day, device_us=1, tokens=2)
            for key in set().union(*served)
        ],
    )
    for day in sorted(stored):
        write_stored_bytes(database, day, stored[day])
    last = first + length - 1
    whole = {key.tenant: one for key, one in read_usage(database, first, last).items()}
    summed: dict[str, Usage] = {}
    for key, one in read_usage(database, first, last, by_day=True).items():
        assert first <= key.day <= last
        summed[key.tenant] = summed.get(key.tenant, Usage()).add(one)
    for tenant in whole.keys() | summed.keys():
        for name in ("requests", "input_tokens", "serving_us", "training_us", "training_tokens", "byte_days"):
            assert getattr(summed.get(tenant, Usage()), name) == getattr(whole.get(tenant, Usage()), name)
    for tenant in ("a", "b", "c"):
        days = range(first, last + 1)
        known = [(day, own.get(tenant, 0)) for day, own in sorted(stored.items())]
        expected = sum(next((count for at, count in known[::-1] if at <= day), 0) for day in days)
        assert whole.get(tenant, Usage()).byte_days == expected
        assert whole.get(tenant, Usage()).requests == sum(
            one.requests for batch in served for key, one in batch.items() if key.tenant == tenant and key.day in days
        )
