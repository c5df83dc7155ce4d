"""Trainings are recorded once; of stored bytes only changes are written, and count until the next one."""

import sqlalchemy as sql

from components.rollout.store.usage import Usage, UsageKey, read_usage
from components.rollout.store.usage_records import Training, add_trainings, was_looked_at, write_stored_bytes
from components.rollout.store.usage_tables import STORED_BYTES

DAY = 20_000


def count_rows(database):
    with database.connect("the rows") as connection:
        return connection.execute(sql.select(sql.func.count()).select_from(STORED_BYTES)).scalar_one()


def test_a_training_is_recorded_once(database):
    first = Training(tenant="acme", id="1.5", day=DAY, device_us=2_000_000, tokens=30)
    for _ in range(2):
        add_trainings(database, [first, Training(tenant="birch", id="1.5", day=DAY, device_us=1, tokens=1)])
    add_trainings(database, [Training(tenant="acme", id="2.5", day=DAY + 1, device_us=500_000, tokens=4)])
    add_trainings(database, [])
    assert read_usage(database, DAY, DAY + 1, tenants=["acme"]) == {
        UsageKey("acme", DAY): Usage(training_us=2_500_000, training_tokens=34)
    }


def test_bytes_count_on_every_day_until_the_next_change(database):
    write_stored_bytes(database, DAY, {"acme": 10})
    write_stored_bytes(database, DAY + 3, {"acme": 10})
    assert count_rows(database) == 1
    write_stored_bytes(database, DAY + 4, {"acme": 30, "birch": 5})
    write_stored_bytes(database, DAY + 4, {"acme": 25, "birch": 5})
    write_stored_bytes(database, DAY + 6, {"birch": 5})
    by_day = read_usage(database, DAY - 1, DAY + 7, tenants=["acme"], by_day=True)
    assert {key.day - DAY: one.stored_bytes for key, one in by_day.items()} == {
        **dict.fromkeys(range(4), 10),
        4: 25,
        5: 25,
    }
    assert read_usage(database, DAY + 2, DAY + 4, tenants=["acme"]) == {
        UsageKey("acme", DAY + 2): Usage(byte_days=45, stored_bytes=25)
    }


def test_a_day_that_was_looked_at_is_left_alone_if_once_is_enough(database):
    assert not was_looked_at(database, DAY)
    write_stored_bytes(database, DAY, {"acme": 10}, once=True)
    write_stored_bytes(database, DAY, {"acme": 20}, once=True)
    assert was_looked_at(database, DAY)
    assert not was_looked_at(database, DAY + 1)
    assert read_usage(database, DAY, DAY)[UsageKey("acme", DAY)].stored_bytes == 10
    write_stored_bytes(database, DAY, {"acme": 20})
    assert read_usage(database, DAY, DAY)[UsageKey("acme", DAY)].stored_bytes == 20
