"""Search, filter, order and pages of a large fleet's table."""

import pytest

from components.console.fleet.rows import FleetRow, FleetSnapshot
from components.console.fleet.table import TableQuery, select_page
from components.console.refusals import PageRefusedError

STATES = ("failed", "refused", "on-trial", "healthy")


def make_row(number):
    return FleetRow(
        tenant=f"tenant-{number:04}",
        state=STATES[number % 4],
        reason="in train: out of memory" if number % 4 == 0 else "",
        bleu=None if number % 5 == 0 else float(number % 97),
        requests=number,
        trial="canary" if number % 4 == 2 else "",
        waits_for_person=number % 8 == 2,
    )


@pytest.fixture(scope="module")
def snapshot():
    rows = [make_row(number) for number in range(1000)]
    return FleetSnapshot(rows=rows, read_at="2026-01-01T00:00:00+00:00", drops=["tenant-0007"])


def select(snapshot, **values):
    return select_page(snapshot, TableQuery(**values))


def test_words_are_looked_for_in_tenants_and_reasons(snapshot):
    assert [row.tenant for row in select(snapshot, search="0042").rows] == ["tenant-0042"]
    assert select(snapshot, search="OUT memory").page.total == 250
    assert select(snapshot, search="out memory 0042").page.total == 0


def test_a_filter_is_a_state_trouble_or_what_waits(snapshot):
    assert select(snapshot, state="refused").page.total == 250
    assert select(snapshot, state="waiting").page.total == 125
    assert select(snapshot, state="trouble").page.total == 500
    assert [row.tenant for row in select(snapshot, state="drop").rows] == ["tenant-0007"]


def test_rows_without_a_value_come_last_in_both_orders(snapshot):
    for sort in ("bleu", "-bleu"):
        page = select(snapshot, sort=sort, size=200)
        assert page.page.pages == 5
        values = [row.bleu for row in page.rows]
        assert values == sorted(values, reverse=sort[0] == "-")
        assert all(row.bleu is None for row in select(snapshot, sort=sort, size=200, page=5).rows)


def test_a_page_beyond_the_last_is_the_last(snapshot):
    page = select(snapshot, page=99)
    assert (page.page.number, page.page.pages, len(page.rows)) == (20, 20, 50)


@pytest.mark.parametrize("values", [{"sort": "x"}, {"state": "x"}, {"size": 3}])
def test_unknown_values_are_refused(values):
    with pytest.raises(PageRefusedError):
        TableQuery(**values)


def test_links_keep_what_differs_from_the_default():
    query = TableQuery(search="a b", sort="bleu", page=3)
    assert query.to_url() == "?search=a+b&sort=bleu"
    assert query.to_url(page=4) == "?search=a+b&sort=bleu&page=4"
    assert query.to_sort_url("bleu") == "?search=a+b&sort=-bleu"
    assert (query.get_direction("bleu"), query.get_direction("tenant")) == ("ascending", "none")
