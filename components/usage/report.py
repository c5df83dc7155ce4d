"""The usage of tenants by day, by month or in all, with its cost if there are prices."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from components.config import Params, PricesConfig
from components.rollout.store.usage import Usage, list_using_tenants, read_usage
from components.storage.database import Database
from components.usage.money import compute_cost, compute_gb_months, round_money
from components.usage.periods import Period, count_month_days, to_date, to_day

Grouping = Literal["day", "month", "tenant"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
COLUMNS = (
    *("tenant", "period", "requests", "input_tokens", "output_tokens", "serving_device_seconds"),
    *("training_tokens", "training_device_seconds", "stored_bytes", "stored_gb_months"),
)
MONEY_COLUMNS = ("cost", "currency")
_DEVICE_PLACES = 3


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One tenant's usage in one period; "" as tenant: of all."""

    tenant: str
    period: str
    """A day, a month, or the first and the last day."""
    usage: Usage
    gb_months: Fraction
    cost: Fraction | None = None
    """Not rounded; None: there are no prices."""
    currency: str = ""

    @property
    def id(self) -> str:
        """Unique in a report."""
        return f"{self.tenant}/{self.period}"

    def to_json(self) -> dict[str, Any]:
        """Return the row's columns; those of money only if there are prices. Money is text, rounded."""
        used = self.usage
        values: dict[str, Any] = {
            "tenant": self.tenant,
            "period": self.period,
            "requests": used.requests,
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "serving_device_seconds": round(used.serving_us / 1e6, _DEVICE_PLACES),
            "training_tokens": used.training_tokens,
            "training_device_seconds": round(used.training_us / 1e6, _DEVICE_PLACES),
            "stored_bytes": used.stored_bytes,
            "stored_gb_months": round(float(self.gb_months), 9),
        }
        if self.cost is not None:
            values |= {"cost": f"{round_money(self.cost):f}", "currency": self.currency}
        return values


def read_report(
    database: Database,
    period: Period,
    by: Grouping,
    get_params: Callable[[str], Params],
    tenants: Collection[str] | None = None,
) -> list[UsageRow]:
    """Return the usage of all (or the named) tenants, sorted by tenant and period.

    `get_params` returns a tenant's parameters, whose prices count now, also for days before they were set.
    Raises WorkspaceError.
    """
    rows: dict[tuple[str, str], UsageRow] = {}
    prices_of: dict[str, PricesConfig | None] = {}
    for part in period.split_by_month():
        days = count_month_days(part.since)
        found = read_usage(database, to_day(part.since), to_day(part.until), tenants=tenants, by_day=by == "day")
        for key, usage in found.items():
            name = {"day": str(to_date(key.day)), "month": part.month, "tenant": f"{period.since}..{period.until}"}[by]
            if key.tenant not in prices_of:
                prices_of[key.tenant] = get_params(key.tenant).prices
            prices = prices_of[key.tenant]
            row = UsageRow(
                key.tenant,
                name,
                usage,
                compute_gb_months(usage, days),
                compute_cost(usage, days, prices) if prices else None,
                prices.currency if prices else "",
            )
            known = rows.get((key.tenant, name))
            rows[key.tenant, name] = row if known is None else add_rows([known, row], key.tenant, name)
    return [rows[key] for key in sorted(rows)]


def read_page(
    database: Database, period: Period, by: Grouping, get_params: Callable[[str], Params], first: str, count: int
) -> list[UsageRow]:
    """Return a part of the report on all tenants: all rows of the tenant `first`, and at least `count` after them.

    Fewer if there are no more; not many more are read. Raises WorkspaceError.
    """
    days = (period.until - period.since).days + 1
    rows_of_tenant = {"day": days, "month": 1 + days // 28, "tenant": 1}[by]
    step = max(1, count // rows_of_tenant)
    tenants = list_using_tenants(database, to_day(period.since), to_day(period.until))
    rows: list[UsageRow] = []
    for start in range(bisect_left(tenants, first), len(tenants), step):
        rows += read_report(database, period, by, get_params, tenants[start : start + step])
        if len(rows) >= rows_of_tenant + count:
            break
    return rows


def add_rows(rows: Iterable[UsageRow], tenant: str = "", period: str = "") -> UsageRow:
    """Return the sum of rows; stored bytes are those of the last row. Without any price it has no cost."""
    usage, gb_months, cost, currency = Usage(), Fraction(0), Fraction(0), ""
    for row in rows:
        usage, gb_months, cost = usage.add(row.usage), gb_months + row.gb_months, cost + (row.cost or 0)
        currency = currency or row.currency
    return UsageRow(tenant, period, usage, gb_months, cost if currency else None, currency)
