"""How many rows may be in flight, of all tenants and of one. Knows numbers; does not know engines."""

from collections import Counter

from components.serving.interface import BusyError

_RETRY_S = 1.0


class RowLimits:
    """Counts rows from one event loop."""

    def __init__(self, most: int, tenant_most: int) -> None:
        """`most` rows of all tenants, `tenant_most` of one."""
        self._most, self._tenant_most = most, tenant_most
        self._by_tenant: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """Rows in flight."""
        return self._by_tenant.total()

    def add(self, tenant: str, count: int) -> None:
        """Count rows as in flight. A request with more rows than a limit is taken if nothing else counts under it.

        Raises:
            BusyError: there are no places for all of them.
        """
        total, own = self.total, self._by_tenant[tenant]
        if (total and total + count > self._most) or (own and own + count > self._tenant_most):
            wanted = f"at most {self._most} rows in flight, and at most {self._tenant_most} of one tenant"
            got = f"{total} rows, {own} of {tenant}, and {count} more"
            raise BusyError(wanted, got, "try again later", retry_after=_RETRY_S)
        self._by_tenant[tenant] += count

    def remove(self, tenant: str, count: int = 1) -> None:
        """Count rows as ended."""
        self._by_tenant[tenant] -= count
        if self._by_tenant[tenant] <= 0:
            del self._by_tenant[tenant]
