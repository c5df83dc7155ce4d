"""Usage by day, by month and in all; money only where there are prices."""

from datetime import date
from fractions import Fraction

import pytest

from components.rollout.store.usage import Usage, UsageKey, add_served
from components.rollout.store.usage_records import write_stored_bytes
from components.usage.periods import Period, to_day
from components.usage.report import add_rows, read_page, read_report

OCTOBER, NOVEMBER = to_day(date(2026, 10, 31)), to_day(date(2026, 11, 2))
PERIOD = Period(date(2026, 10, 1), date(2026, 11, 3))


def fill(database):
    add_served(
        database,
        "one",
        1,
        {
            UsageKey("acme", OCTOBER): Usage(requests=2),
            UsageKey("acme", NOVEMBER): Usage(requests=3),
            UsageKey("birch", NOVEMBER): Usage(requests=1),
        },
    )


def read(database, params, by, tenants=None):
    rows = read_report(database, PERIOD, by, params.for_tenant, tenants)
    return {(row.tenant, row.period): (row.usage.requests, row.cost) for row in rows}


def test_rows_are_grouped_and_each_tenant_has_its_own_prices(database, make_params):
    fill(database)
    params = make_params(tenants={"birch": {"prices": {"thousand_requests": 500}}})
    assert read(database, params, "day") == {
        ("acme", "2026-10-31"): (2, 2),
        ("acme", "2026-11-02"): (3, 3),
        ("birch", "2026-11-02"): (1, Fraction(1, 2)),
    }
    assert read(database, params, "month", ["acme"]) == {("acme", "2026-10"): (2, 2), ("acme", "2026-11"): (3, 3)}
    whole = "2026-10-01..2026-11-03"
    assert read(database, params, "tenant") == {("acme", whole): (5, 5), ("birch", whole): (1, Fraction(1, 2))}


def test_without_prices_there_is_no_money(database, make_params):
    fill(database)
    rows = read_report(database, PERIOD, "tenant", make_params(prices=None).for_tenant)
    assert [row.cost for row in rows] == [None, None]
    assert not {"cost", "currency"} & rows[0].to_json().keys()
    assert add_rows(rows).cost is None
    assert add_rows([]).cost is None


def test_money_is_text_and_the_total_is_the_sum_before_rounding(database, make_params):
    fill(database)
    prices = {"currency": "EUR", "thousand_requests": "0.025"}
    rows = read_report(database, PERIOD, "tenant", make_params(prices=prices).for_tenant)
    assert [row.to_json()["cost"] for row in rows] == ["0.0001", "0.0000"]
    assert add_rows(rows).to_json()["cost"] == "0.0002"  # 0.00015
    assert rows[0].to_json()["currency"] == "EUR"


def test_stored_bytes_cost_by_the_days_of_their_month(database, make_params):
    write_stored_bytes(database, to_day(date(2026, 10, 1)), {"acme": 10**9})
    (october, november) = read_report(database, PERIOD, "month", make_params().for_tenant)
    assert (october.gb_months, october.cost) == (1, 31)
    assert (november.gb_months, november.usage.stored_bytes) == (Fraction(1, 10), 10**9)
    (whole,) = read_report(database, PERIOD, "tenant", make_params().for_tenant)
    assert (whole.gb_months, whole.cost) == (Fraction(11, 10), Fraction(341, 10))


@pytest.mark.parametrize("by", ["day", "month", "tenant"])
def test_a_page_begins_with_a_tenant_and_has_the_rows_of_the_whole_report(database, make_params, by):
    fill(database)
    write_stored_bytes(database, NOVEMBER, {"cedar": 5})
    params = make_params()
    whole = read_report(database, PERIOD, by, params.for_tenant)
    for number, row in enumerate(whole):
        if number and whole[number - 1].tenant == row.tenant:
            continue
        for count in range(1, len(whole) + 2):
            page = read_page(database, PERIOD, by, params.for_tenant, row.tenant, count)
            assert page == whole[number : number + len(page)]
            assert len(page) >= min(count, len(whole) - number)
    assert read_page(database, PERIOD, by, params.for_tenant, "zzz", 3) == []
