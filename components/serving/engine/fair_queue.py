"""A fair queue: of the tenants with queued rows, the one that was served the fewest tokens is next.

A tenant may use a limited number of the batch's places, so that some are left for another tenant's first row.

Counts the tokens read and generated for each active tenant, one with queued or running rows. A tenant that becomes
active starts with the lowest count of the active ones, so that idle time earns no credit (Sheng et al. 2024, "Fairness
in Serving Large Language Models", algorithm 2). Knows tenants and numbers of tokens; does not know models or clocks.
"""

from collections import Counter, deque
from typing import Generic, TypeVar

_Row = TypeVar("_Row")


class FairQueue(Generic[_Row]):
    """Queued rows. The next row is of the tenant served the fewest tokens; each tenant's rows stay in their order."""

    def __init__(self, max_places: int | None = None) -> None:
        """Start empty. A tenant's rows may use `max_places` places; None: any number."""
        self._max_places = max_places
        self._queued: dict[str, deque[_Row]] = {}
        self._running: Counter[str] = Counter()
        self._served_tokens: dict[str, float] = {}
        """Tokens read and generated, by active tenant."""
        self._length = 0

    def __len__(self) -> int:
        """Return the number of queued rows."""
        return self._length

    def count_waiting(self, tenant: str) -> int:
        """Return the number of a tenant's queued rows."""
        return len(self._queued.get(tenant, ()))

    def push(self, tenant: str, row: _Row) -> None:
        """Queue a row after the tenant's other rows."""
        if tenant not in self._served_tokens:
            self._served_tokens[tenant] = min(self._served_tokens.values(), default=0.0)
        self._queued.setdefault(tenant, deque()).append(row)
        self._length += 1

    def peek(self) -> _Row | None:
        """Return the next row without removing it, or None if there is none that may run."""
        tenant = self._pick_tenant()
        return None if tenant is None else self._queued[tenant][0]

    def pop(self, places: int = 1) -> _Row:
        """Remove and return the next row, which counts as running in so many places until `mark_done`.

        Raises:
            KeyError: there is none that may run.
        """
        tenant = self._pick_tenant()
        if tenant is None:
            raise KeyError("a row that may run")
        row = self._queued[tenant].popleft()
        self._running[tenant] += places
        self._count_removal(tenant)
        return row

    def remove(self, tenant: str, row: _Row) -> bool:
        """Remove a cancelled row; returns False if it is not queued."""
        rows = self._queued.get(tenant, deque())
        if row not in rows:
            return False
        rows.remove(row)
        self._count_removal(tenant)
        self._remove_if_idle(tenant)
        return True

    def mark_done(self, tenant: str, places: int = 1) -> None:
        """Record that one of the tenant's running rows is finished."""
        self._running[tenant] -= places
        if self._running[tenant] <= 0:
            del self._running[tenant]
        self._remove_if_idle(tenant)

    def charge(self, tenant: str, tokens: int) -> None:
        """Count tokens read or generated for a tenant, if it is still active."""
        if tenant in self._served_tokens:
            self._served_tokens[tenant] += tokens

    def _pick_tenant(self) -> str | None:
        limit = self._max_places
        allowed = self._queued if limit is None else [one for one in self._queued if self._running[one] < limit]
        return min(allowed, key=self._served_tokens.__getitem__, default=None)

    def _count_removal(self, tenant: str) -> None:
        self._length -= 1
        if not self._queued[tenant]:
            del self._queued[tenant]

    def _remove_if_idle(self, tenant: str) -> None:
        if tenant not in self._queued and tenant not in self._running:
            self._served_tokens.pop(tenant, None)
