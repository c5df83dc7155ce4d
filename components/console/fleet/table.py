"""Search, filter, sort and cut the fleet's table. Pure: a snapshot in, a page of rows out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from components.console.fleet.rows import FILTERS, FleetRow, FleetSnapshot, matches_filter
from components.console.paging import Page, find_page
from components.console.refusals import PageRefusedError
from components.stages.reports.tenant_state import STATES

PAGE_SIZES = (25, 50, 100, 200)

_KEYS: dict[str, Callable[[FleetRow], Any]] = {
    "tenant": lambda row: row.tenant,
    "state": lambda row: STATES.index(row.state),
    "age": lambda row: row.champion_since or None,
    "verdict": lambda row: row.is_accepted,
    "bleu": lambda row: row.bleu,
    "rouge": lambda row: row.rouge,
    "requests": lambda row: row.requests,
    "errors": lambda row: row.errors,
    "p95": lambda row: row.p95_ms,
    "resident": lambda row: row.is_resident,
}


@dataclass(frozen=True, slots=True)
class TableQuery:
    """What a visitor wants to see of the table."""

    search: str = ""
    state: str = ""
    """One of FILTERS; "": all."""
    sort: str = "state"
    """A column, with `-` before it for descending order."""
    page: int = 1
    size: int = 50

    def __post_init__(self) -> None:
        """Raises PageRefusedError (400) for a value that the table does not know."""
        for wanted, value, known in (
            ("a filter", self.state, ("", *FILTERS)),
            ("a column to sort by", self.sort.removeprefix("-"), tuple(_KEYS)),
            ("a number of rows", self.size, PAGE_SIZES),
        ):
            if value not in known:
                names = ", ".join(str(one) for one in known if one)
                raise PageRefusedError(400, f"{wanted}: {names}", repr(value)[:100], "use the page's own controls")

    def to_url(self, **changes: Any) -> str:
        """Return the query string of this query with some values changed; without a change of page, of the first."""
        values = {"search": self.search, "state": self.state, "sort": self.sort, "size": self.size, "page": 1}
        default = TableQuery()
        kept = {name: value for name, value in (values | changes).items() if value != getattr(default, name)}
        return f"?{urlencode(kept)}"

    def to_sort_url(self, column: str) -> str:
        """Return the query string that sorts by a column; the other way round if it is sorted by it already."""
        return self.to_url(sort=f"-{column}" if self.sort == column else column)

    def get_direction(self, column: str) -> str:
        """Return the value of `aria-sort` for a column."""
        if self.sort.removeprefix("-") != column:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"


@dataclass(frozen=True, slots=True)
class TablePage:
    """One page of the table."""

    rows: Sequence[FleetRow]
    page: Page


def select_page(snapshot: FleetSnapshot, query: TableQuery) -> TablePage:
    """Return the rows that a query asks for; rows without a value in the sorted column come last."""
    words, drops = query.search.lower().split(), set(snapshot.drops)
    found = [
        row
        for row in snapshot.rows
        if (not query.state or matches_filter(row, query.state, drops))
        and all(word in row.tenant or word in row.reason.lower() for word in words)
    ]
    key, descending = _KEYS[query.sort.removeprefix("-")], query.sort.startswith("-")
    present = [row for row in found if key(row) is not None]
    missing = [row for row in found if key(row) is None]
    ordered = sorted(present, key=key, reverse=descending) + missing
    page = find_page(len(ordered), query.page, query.size)
    return TablePage(page.cut(ordered), page)
