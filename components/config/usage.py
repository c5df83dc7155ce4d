"""The sections `prices` (what usage costs) and `budget` (what happens when a tenant has spent its month's budget).

Money is decimal: a number in the file counts as it is written there, never as a binary fraction.
"""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from components.config.section import Section


def _to_decimal(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return Decimal(str(value))
        except InvalidOperation:
            pass
    raise ValueError("an amount of money, such as 0.25")


Amount = Annotated[Decimal, BeforeValidator(_to_decimal), Field(ge=0)]


class PricesConfig(Section):
    """What usage costs; `tenants.<id>.prices` overrides it. Without this section usage has no money."""

    currency: str = Field(pattern="^[A-Z]{3}$", description="code of ISO 4217, such as EUR; the same for all tenants")
    thousand_requests: Amount = Field(default=Decimal(0), description="of 1,000 answered requests")
    million_input_tokens: Amount = Field(default=Decimal(0), description="of 1,000,000 tokens of prompts")
    million_output_tokens: Amount = Field(default=Decimal(0), description="of 1,000,000 generated tokens")
    training_device_hour: Amount = Field(default=Decimal(0), description="of 3,600 device seconds of training")
    serving_device_hour: Amount = Field(default=Decimal(0), description="of 3,600 device seconds of serving")
    gb_month: Amount = Field(default=Decimal(0), description="of 10^9 bytes of registered versions, for a month")


class BudgetConfig(Section):
    """What a tenant may spend in a calendar month (UTC); `tenants.<id>.budget` overrides it. Needs `prices`."""

    month: Amount = Field(description="in the currency of `prices`")
    action: Literal["alert", "refuse", "throttle"] = Field(
        default="alert",
        description="once it is spent: alert: only say so; refuse: skip retrainings of the tenant; throttle: also "
        "answer its requests with 429",
    )
