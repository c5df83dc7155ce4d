"""What tenants have spent of their month's budgets. Knows prices and sums; refuses nothing itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

from components.config import BudgetConfig, Params
from components.rollout.store.usage import read_usage
from components.storage.database import Database
from components.usage.money import compute_cost, round_money
from components.usage.periods import count_month_days, to_day


@dataclass(frozen=True, slots=True)
class BudgetState:
    """One tenant's budget in the present month."""

    tenant: str
    month: str
    """As 2026-11, in UTC."""
    spent: Fraction
    """Not rounded."""
    config: BudgetConfig
    currency: str

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.spent >= Fraction(self.config.month)

    @property
    def refuses_training(self) -> bool:
        """Whether retrainings are skipped."""
        return self.is_spent and self.config.action in ("refuse", "throttle")

    @property
    def refuses_requests(self) -> bool:
        """Whether requests get 429."""
        return self.is_spent and self.config.action == "throttle"

    @property
    def sentence(self) -> str:
        """The state in words, for people."""
        spent, budget = round_money(self.spent), _shorten(self.config.month)
        return f"spent {spent:f} {self.currency} of its budget of {budget} {self.currency} for {self.month}"

    @property
    def note(self) -> str:
        """What follows from a spent budget, in words, for people."""
        effects = {"refuse": ": it is not trained", "throttle": ": it is not trained, and its requests get 429"}
        return self.sentence + effects.get(self.config.action, "")


def read_budget_states(
    database: Database, tenants: Iterable[str], get_params: Callable[[str], Params], today: date
) -> dict[str, BudgetState]:
    """Return the states of those of the tenants that have a budget. Asks the database only if one has.

    Raises WorkspaceError.
    """
    own = {tenant: params for tenant in tenants if (params := get_params(tenant)).budget is not None}
    if not own:
        return {}
    first = today.replace(day=1)
    used = read_usage(database, to_day(first), to_day(today), tenants=own)
    spent = {
        key.tenant: compute_cost(usage, count_month_days(today), prices)
        for key, usage in used.items()
        if (prices := own[key.tenant].prices)
    }
    return {
        tenant: BudgetState(
            tenant,
            f"{today:%Y-%m}",
            spent.get(tenant, Fraction(0)),
            params.budget,
            params.prices.currency if params.prices else "",
        )
        for tenant, params in own.items()
        if params.budget is not None
    }


def _shorten(amount: Decimal) -> str:
    """Return an amount with two decimal places, or with all that it has if they are more."""
    return f"{amount.quantize(Decimal('0.01')):f}" if amount == amount.quantize(Decimal("0.01")) else f"{amount:f}"
