"""Old records go with their tenants' rows, and usage by day becomes usage by month, on SQLite and PostgreSQL."""

from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sql

from components.rollout.store.database import open_database_url
from components.rollout.store.old_records import OldRecords, remove_old_records, sum_old_usage
from components.rollout.store.runs import RunTenant, begin_run_entry, end_run_entry, read_run_tenants, read_runs
from components.rollout.store.tuning_tables import TUNING_EVENTS, TUNING_JOBS
from components.rollout.store.usage import Usage, UsageKey, add_served, read_usage

NOW_S = datetime(2026, 6, 1, tzinfo=UTC).timestamp()


def to_day(*parts):
    return (date(*parts) - date(1970, 1, 1)).days


@pytest.fixture
def database(database_url):
    opened = open_database_url(database_url)
    yield opened
    opened.close()


def test_ended_runs_and_events_of_ended_jobs_go(database):
    for at, ended in (("2026-05-01", True), ("2026-05-02", False), ("2026-06-02", True)):
        run = begin_run_entry(database, "schedule", "prefect", f"{at}T00:00:00+00:00")
        if ended:
            rows = [RunTenant(tenant=tenant, result="promoted") for tenant in ("acme", "birch")]
            end_run_entry(database, run, f"{at}T01:00:00+00:00", "d" * 32, 0, rows)
    columns = {column.name: 0 if isinstance(column.type, (sql.Integer, sql.Float)) else "x" for column in TUNING_JOBS.c}
    with database.transaction("jobs") as connection:
        for number, ended_s in enumerate((NOW_S - 9.0, 0.0)):
            values = {**columns, "id": f"job-{number}", "number": number, "ended_s": ended_s}
            connection.execute(sql.insert(TUNING_JOBS).values(values))
            event = {"job": f"job-{number}", "tenant": "acme", "at_s": 1.0, "level": "info", "message": "began"}
            connection.execute(sql.insert(TUNING_EVENTS).values(event))
    assert remove_old_records(database, NOW_S, dry_run=True) == OldRecords(3, 1)
    assert remove_old_records(database, NOW_S) == OldRecords(3, 1)
    assert remove_old_records(database, NOW_S) == OldRecords(0, 0)
    assert [one.began_at[:10] for one in read_runs(database, 9)] == ["2026-06-02", "2026-05-02"]
    assert read_run_tenants(database, 1) == []


def test_usage_of_whole_months_is_summed_and_later_additions_are_kept(database):
    days = range(to_day(2026, 1, 10), to_day(2026, 4, 20))
    served = {
        UsageKey(tenant, day): Usage(requests=1, input_tokens=day) for tenant in ("acme", "birch") for day in days
    }
    add_served(database, "server", 1, served)
    before = read_usage(database, 0, to_day(2026, 12, 1))
    limit = to_day(2026, 3, 15)
    assert sum_old_usage(database, limit, dry_run=True) == 2 * (22 - 1 + 28 - 1)
    assert sum_old_usage(database, limit) == 2 * (22 - 1 + 28 - 1)
    assert read_usage(database, 0, to_day(2026, 12, 1)) == before
    by_day = read_usage(database, 0, to_day(2026, 12, 1), by_day=True)
    own = [key.day for key in by_day if key.tenant == "acme"]
    assert own == [to_day(2026, 1, 1), to_day(2026, 2, 1), *range(to_day(2026, 3, 1), to_day(2026, 4, 20))]
    assert by_day[UsageKey("acme", to_day(2026, 2, 1))].requests == 28
    add_served(database, "late", 1, {UsageKey("acme", to_day(2026, 2, 9)): Usage(requests=5)})
    assert sum_old_usage(database, limit) == 1
    february = read_usage(database, to_day(2026, 2, 1), to_day(2026, 2, 28), tenants=["acme"])
    assert [one.requests for one in february.values()] == [33]
    assert sum_old_usage(database, 0) == 0
