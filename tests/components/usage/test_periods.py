"""Days and months in UTC."""

import itertools
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import DataError
from components.usage.periods import MAX_DAYS, Period, make_period, parse_date, to_date, to_day

TODAY = date(2026, 11, 30)


def test_by_default_a_period_is_the_month_so_far():
    assert make_period(None, None, TODAY) == Period(date(2026, 11, 1), TODAY)
    assert make_period(None, date(2026, 2, 20), TODAY) == Period(date(2026, 2, 1), date(2026, 2, 20))
    assert make_period(date(2026, 11, 29), date(2027, 1, 1), TODAY) == Period(date(2026, 11, 29), TODAY)


@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        (date(2026, 12, 1), None, "has begun by today"),
        (date(2026, 11, 3), date(2026, 11, 2), "not before since"),
        (date(2000, 1, 1), None, f"at most {MAX_DAYS:,} days"),
        (date(1969, 12, 31), date(1970, 1, 3), "from 1970 on"),
    ],
)
def test_a_period_that_cannot_be_is_refused(since, until, message):
    with pytest.raises(DataError, match=message):
        make_period(since, until, TODAY)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "30.11.2026"])
def test_a_text_that_is_no_day_is_refused(text):
    with pytest.raises(DataError, match="--since: a day such as"):
        parse_date(text, "--since")


@settings(deadline=None)
@given(st.dates(date(1970, 1, 1), date(2100, 1, 1)), st.integers(0, 900))
def test_the_parts_by_month_cover_a_period_without_gaps_and_each_is_in_one_month(since, length):
    period = Period(since, to_date(to_day(since) + length))
    parts = list(period.split_by_month())
    assert (parts[0].since, parts[-1].until) == (period.since, period.until)
    assert all(to_day(two.since) == to_day(one.until) + 1 for one, two in itertools.pairwise(parts))
    assert all((one.since.year, one.since.month) == (one.until.year, one.until.month) for one in parts)
