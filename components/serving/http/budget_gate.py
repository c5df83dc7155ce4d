"""Refuses requests of tenants whose budget is spent, if their budget says so (`action: throttle`).

A tenant's state is read from the database at most every few seconds, by its own requests. While the database fails, the
last state counts; a tenant that was never read is let in. Does not know how usage is counted.
"""

import asyncio
from collections.abc import Callable
from datetime import date

from components.config import Params
from components.errors import WorkspaceError
from components.serving.errors import INSUFFICIENT_QUOTA, RefusalError
from components.serving.interface import BusyError
from components.serving.thread_pool import FairThreadPool
from components.storage.database import Database
from components.usage.budgets import BudgetState, read_budget_states
from components.usage.periods import get_today

FRESH_SECONDS = 5.0
"""How old a state may be before a request reads it again."""
_PATIENCE_SECONDS = 1.0
"""How long a request waits for that."""


class BudgetGate:
    """The budgets of all tenants at one server; use it from one event loop."""

    def __init__(
        self,
        database: Database,
        get_params: Callable[[str], Params],
        timer: Callable[[], float],
        today: Callable[[], date] = get_today,
    ) -> None:
        """`get_params` returns a tenant's parameters; `timer` gives monotonic seconds."""
        self._database, self._get_params, self._timer, self._today = database, get_params, timer, today
        self._pool = FairThreadPool("budgets")
        self._states: dict[str, tuple[float, BudgetState | None]] = {}
        """Tenant -> when it was read, and its state."""
        self._reads: dict[str, asyncio.Task[None]] = {}

    async def check(self, tenant: str) -> None:
        """Refuse a request whose tenant's budget is spent. A tenant without such a budget costs nothing.

        Raises:
            RefusalError: 429, the budget is spent.
        """
        budget = self._get_params(tenant).budget
        if budget is None or budget.action != "throttle":
            return
        known = self._states.get(tenant)
        if known is None or self._timer() - known[0] >= FRESH_SECONDS:
            await self._read(tenant)
            known = self._states.get(tenant)
        state = known[1] if known else None
        if state is None or not state.refuses_requests or state.month != f"{self._today():%Y-%m}":
            return
        got = f"{tenant} has {state.sentence}"
        fix = "wait for the next month (UTC), or ask your operator for a larger budget"
        raise RefusalError(429, "a tenant with a budget that is not spent", got, fix, code=INSUFFICIENT_QUOTA)

    def forget(self, tenant: str) -> None:
        """Drop what is known of a tenant."""
        self._states.pop(tenant, None)

    async def _read(self, tenant: str) -> None:
        """Read a tenant's state, once for all requests that wait for it."""
        if tenant not in self._reads:
            self._reads[tenant] = asyncio.create_task(self._read_state(tenant))
            self._reads[tenant].add_done_callback(lambda _: self._reads.pop(tenant))
        await asyncio.wait({self._reads[tenant]}, timeout=_PATIENCE_SECONDS)

    async def _read_state(self, tenant: str) -> None:
        known = self._states.get(tenant)
        try:
            states = await self._pool.run(
                lambda: read_budget_states(self._database, [tenant], self._get_params, self._today()), tenant
            )
            state = states.get(tenant)
        except (WorkspaceError, BusyError):
            state = known[1] if known else None
        self._states[tenant] = self._timer(), state
