"""Usage in money: exact until it is rounded, and additive."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config import PricesConfig
from components.rollout.store.usage import Usage
from components.usage.money import compute_cost, compute_gb_months, round_money

PRICES = PricesConfig(
    currency="EUR",
    thousand_requests=Decimal("0.1"),
    million_input_tokens=Decimal("0.2"),
    million_output_tokens=Decimal("0.8"),
    training_device_hour=Decimal("2.5"),
    serving_device_hour=Decimal("1.2"),
    gb_month=Decimal("0.03"),
)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(), "0"),
        (Usage(requests=3), "0.0003"),
        (Usage(input_tokens=1_500_000), "0.3"),
        (Usage(output_tokens=250_000), "0.2"),
        (Usage(training_us=1_800_000_000), "1.25"),
        (Usage(serving_us=3_600_000_000), "1.2"),
        (Usage(byte_days=30 * 10**9), "0.03"),
        (Usage(requests=1000, training_us=3_600_000_000, byte_days=15 * 10**9), "2.615"),
    ],
)
def test_each_price_counts_its_unit(usage, cost):
    assert compute_cost(usage, 30, PRICES) == Fraction(Decimal(cost))


def test_a_gigabyte_for_a_whole_month_is_a_gb_month_however_long_the_month_is():
    for days in (28, 30, 31):
        assert compute_gb_months(Usage(byte_days=days * 10**9), days) == 1


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("0.00005", "0.0000"), ("0.00015", "0.0002"), ("12.34567", "12.3457"), ("1000000", "1000000.0000")],
)
def test_an_amount_is_rounded_to_four_places_and_a_half_goes_to_the_even_digit(amount, rounded):
    assert f"{round_money(Fraction(Decimal(amount))):f}" == rounded


amounts = st.integers(0, 10**15)
usages = st.builds(
    Usage,
    requests=amounts,
    input_tokens=amounts,
    output_tokens=amounts,
    serving_us=amounts,
    training_us=amounts,
    byte_days=amounts,
)
prices = st.decimals(0, 10**6, places=6)


@settings(deadline=None)
@given(
    parts=st.lists(usages, max_size=6),
    own=st.builds(
        PricesConfig,
        currency=st.just("EUR"),
        thousand_requests=prices,
        million_input_tokens=prices,
        training_device_hour=prices,
        gb_month=prices,
    ),
    days=st.integers(28, 31),
)
def test_costs_of_parts_add_up_to_that_of_the_whole_without_a_remainder(parts, own, days):
    whole = Usage()
    for part in parts:
        whole = whole.add(part)
    assert sum((compute_cost(part, days, own) for part in parts), Fraction(0)) == compute_cost(whole, days, own)
