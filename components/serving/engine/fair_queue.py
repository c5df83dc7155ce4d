"""Who is next: of the tenants that wait, the one that has been served fewest tokens lately.

Counts tokens read and written for each tenant, and lifts who comes back after a pause to the least of those at work, so
that nobody saves up (Sheng et al. 2024, "Fairness in Serving Large Language Models", algorithm 2). Knows tenants' names
and numbers of tokens; does not know rows, models or clocks.
"""

from collections import Counter, deque
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class FairQueue(Generic[_Item]):
    """Rows that wait, each tenant's in the order they came."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: dict[str, deque[_Item]] = {}
        self._running: Counter[str] = Counter()
        self._served_tokens: dict[str, float] = {}
        self._length = 0

    def __len__(self) -> int:
        """Rows that wait."""
        return self._length

    def count_waiting(self, tenant: str) -> int:
        """Rows of one tenant that wait."""
        return len(self._waiting.get(tenant, ()))

    def push(self, tenant: str, row: _Item) -> None:
        """Put a row at the end of its tenant's."""
        if tenant not in self._served_tokens:
            self._served_tokens[tenant] = min(self._served_tokens.values(), default=0.0)
        self._waiting.setdefault(tenant, deque()).append(row)
        self._length += 1

    def peek(self) -> _Item | None:
        """The next row of the tenant served least."""
        return self._waiting[self._pick_tenant()][0] if self._waiting else None

    def pop(self) -> _Item:
        """Take that row out; its tenant is at work from now on until `mark_done`. Raises ValueError: nobody waits."""
        tenant = self._pick_tenant()
        row = self._waiting[tenant].popleft()
        self._running[tenant] += 1
        self._count_removal(tenant)
        return row

    def remove(self, tenant: str, row: _Item) -> bool:
        """Take a row out that nobody waits for any more; False where it runs already."""
        rows = self._waiting.get(tenant, deque())
        if row not in rows:
            return False
        rows.remove(row)
        self._count_removal(tenant)
        self._remove_if_idle(tenant)
        return True

    def mark_done(self, tenant: str) -> None:
        """One of a tenant's running rows is done."""
        self._running[tenant] -= 1
        if self._running[tenant] <= 0:
            del self._running[tenant]
        self._remove_if_idle(tenant)

    def charge(self, tenant: str, tokens: int) -> None:
        """Count tokens that were read or written for a tenant; one that is not at work any more is let off."""
        if tenant in self._served_tokens:
            self._served_tokens[tenant] += tokens

    def _pick_tenant(self) -> str:
        return min(self._waiting, key=self._served_tokens.__getitem__)

    def _count_removal(self, tenant: str) -> None:
        self._length -= 1
        if not self._waiting[tenant]:
            del self._waiting[tenant]

    def _remove_if_idle(self, tenant: str) -> None:
        """Whoever neither waits nor runs is not at work."""
        if tenant not in self._waiting and tenant not in self._running:
            self._served_tokens.pop(tenant, None)
