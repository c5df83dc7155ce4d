"""Cuts a list into pages. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    number: int
    """From 1 on."""
    pages: int
    """At least 1, also of an empty list."""
    total: int
    """Rows on all pages."""
    size: int
    """Rows of a page."""

    @property
    def start(self) -> int:
        """Rows on the pages before."""
        return (self.number - 1) * self.size

    def cut(self, rows: Sequence[_Row]) -> Sequence[_Row]:
        """Return the rows of this page from all rows."""
        return rows[self.start : self.start + self.size]


def find_page(total: int, wanted: int, size: int) -> Page:
    """Return page `wanted` of a list of `total` rows, or the nearest page that there is."""
    pages = max(1, -(-total // size))
    return Page(min(max(1, wanted), pages), pages, total, size)
