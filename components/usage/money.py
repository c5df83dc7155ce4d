"""Usage in money. Pure, and exact: amounts are fractions of whole numbers until they are rounded for people."""

from decimal import Decimal
from fractions import Fraction

from components.config import PricesConfig
from components.rollout.store.usage import Usage

PLACES = 4
"""Decimal places of an amount that is shown."""
_HOUR_US = 3_600_000_000
_GB = 10**9


def compute_gb_months(usage: Usage, month_days: int) -> Fraction:
    """Return what is stored, in 10^9 bytes times months; `usage` is of one month, which has `month_days` days."""
    return Fraction(usage.byte_days, _GB * month_days)


def compute_cost(usage: Usage, month_days: int, prices: PricesConfig) -> Fraction:
    """Return the cost of usage in one month, not rounded, so that costs of periods add up to that of all of them."""
    parts = (
        (Fraction(usage.requests, 1_000), prices.thousand_requests),
        (Fraction(usage.input_tokens, 1_000_000), prices.million_input_tokens),
        (Fraction(usage.output_tokens, 1_000_000), prices.million_output_tokens),
        (Fraction(usage.training_us, _HOUR_US), prices.training_device_hour),
        (Fraction(usage.serving_us, _HOUR_US), prices.serving_device_hour),
        (compute_gb_months(usage, month_days), prices.gb_month),
    )
    return sum((amount * Fraction(price) for amount, price in parts), Fraction(0))


def round_money(amount: Fraction) -> Decimal:
    """Return an amount with four decimal places; a half goes to the even digit."""
    return Decimal(round(amount * 10**PLACES)).scaleb(-PLACES)
