"""Prices and budgets: decimal as written, of one currency, a tenant's own values over the fleet's."""

from decimal import Decimal

import pytest

from components.config import load_params
from components.errors import ConfigError


def load(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(f"base: {{path: base}}\n{text}", encoding="utf-8")
    return load_params(path)


def test_amounts_are_decimal_exactly_as_they_are_written(tmp_path):
    params = load(tmp_path, "prices: {currency: EUR, thousand_requests: 0.1, gb_month: '0.30', serving_device_hour: 2}")
    assert params.prices.thousand_requests * 3 == Decimal("0.3")
    assert params.prices.gb_month == Decimal("0.3")
    assert params.prices.serving_device_hour == 2
    assert params.prices.million_input_tokens == 0
    assert params.budget is None


def test_a_tenant_has_its_own_values_over_the_fleet_s(tmp_path):
    params = load(
        tmp_path,
        "prices: {currency: EUR, thousand_requests: 0.1, gb_month: 1}\n"
        "budget: {month: 10}\n"
        "tenants: {acme: {prices: {thousand_requests: 0.05}, budget: {action: throttle}}}",
    )
    own = params.for_tenant("acme")
    assert (own.prices.thousand_requests, own.prices.gb_month) == (Decimal("0.05"), 1)
    assert (own.budget.month, own.budget.action) == (10, "throttle")
    assert params.for_tenant("birch").budget.action == "alert"
    assert type(own).model_validate(params.model_dump(mode="json")) == params


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prices: {}", "a value for prices.currency"),
        ("prices: {currency: euro}", "prices.currency = 'euro'"),
        ("prices: {currency: EUR, gb_month: much}", "an amount of money, such as 0.25.*prices.gb_month = 'much'"),
        ("prices: {currency: EUR, gb_month: true}", "an amount of money"),
        ("prices: {currency: EUR, gb_month: -1}", "greater than or equal to 0"),
        ("prices: {currency: EUR, gb_month: .inf}", "finite"),
        ("prices: {currency: EUR, gb_months: 1}", "did you mean 'gb_month'"),
        ("budget: {month: 5}", "budget without prices"),
        ("prices: {currency: EUR}\nbudget: {action: refuse}", "a value for budget.month"),
        ("prices: {currency: EUR}\nbudget: {month: 5, action: stop}", "budget.action = 'stop'"),
        ("tenants: {acme: {budget: {month: 5}}}", "tenants.acme: budget without prices"),
        ("prices: {currency: EUR}\ntenants: {acme: {prices: {currency: USD}}}", "tenants.acme: USD"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        load(tmp_path, text)
