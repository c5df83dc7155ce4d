"""Days and calendar months in UTC. Pure."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from components.errors import DataError

_EPOCH = date(1970, 1, 1)
MAX_DAYS = 3_660
"""Days of a report."""


@dataclass(frozen=True, slots=True)
class Period:
    """From one day to another, both included."""

    since: date
    until: date

    def split_by_month(self) -> Iterator["Period"]:
        """Yield the parts that are in one calendar month each."""
        since = self.since
        while since <= self.until:
            end = since.replace(day=count_month_days(since))
            yield Period(since, min(end, self.until))
            since = end + timedelta(days=1)

    @property
    def month(self) -> str:
        """The month of its first day."""
        return f"{self.since:%Y-%m}"


def get_today() -> date:
    """Return the day in UTC."""
    return datetime.now(UTC).date()


def to_day(value: date) -> int:
    """Return a date in days since 1970."""
    return (value - _EPOCH).days


def to_date(day: int) -> date:
    """Return the date of a day since 1970."""
    return _EPOCH + timedelta(days=day)


def count_month_days(value: date) -> int:
    """Return the number of days in a date's month."""
    return monthrange(value.year, value.month)[1]


def parse_date(text: str, name: str) -> date:
    """Return the date of a text; `name` is that of the option. Raises DataError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise DataError(f"{name}: a day such as 2026-11-30", repr(text[:100]), f"correct {name}") from None


def make_period(since: date | None, until: date | None, today: date) -> Period:
    """Return a period; without `since` from the first day of the month of its end, without `until` to today.

    Raises DataError: it ends before it begins, begins after today, or is too long.
    """
    end = min(until or today, today)
    begin = since or end.replace(day=1)
    if begin > today:
        raise DataError(f"a period that has begun by today, {today} (UTC)", f"since {begin}", "correct since")
    if until is not None and until < begin:
        raise DataError("an until that is not before since", f"since {begin}, until {until}", "correct one of them")
    if (end - begin).days >= MAX_DAYS or begin < _EPOCH:
        raise DataError(f"at most {MAX_DAYS:,} days, from 1970 on", f"since {begin}, until {end}", "correct since")
    return Period(begin, end)
