"""The command `usage`: tables, CSV, JSON, and options that cannot be."""

import csv
import io
import json

import pytest

from components.rollout.store.usage import Usage, UsageKey, add_served
from components.stages.workspace import Workspace
from components.usage.periods import get_today, to_day

PRICES = {"currency": "EUR", "thousand_requests": 1.5, "serving_device_hour": 36}


def fill(root):
    today = to_day(get_today())
    used = Usage(requests=1200, input_tokens=5000, output_tokens=300, serving_us=2_500_000)
    add_served(Workspace(root).database, "one", 1, {UsageKey(tenant, today): used for tenant in ("alder", "birch")})


def test_each_tenant_has_a_row_and_all_have_a_total(call, make_root):
    root = make_root(("alder", "birch"), prices=PRICES)
    fill(root)
    result = call(root, "usage")
    assert result.exit_code == 0, result.output
    head, alder, birch, total = result.stdout.splitlines()
    assert head.split()[-1] == "cost"
    assert alder.split() == [
        "alder",
        f"{get_today():%Y-%m}-01..{get_today()}",
        "1,200",
        "5,000",
        "300",
        "2.5",
        "0.0",
        "0.0",
        "1.8250",
        "EUR",
    ]
    assert birch.split()[0] == "birch"
    assert total.split()[-2:] == ["3.6500", "EUR"]
    assert call(root, "usage", "--tenant", "birch").stdout.count("\n") == 2


def test_without_prices_no_column_has_money(call, make_root):
    root = make_root(("alder",))
    assert call(root, "usage").stdout.startswith("nothing was used: ")
    fill(root)
    assert "cost" not in call(root, "usage").stdout
    assert "cost" not in call(root, "usage", "--csv").stdout
    assert "cost" not in call(root, "usage", "--json").stdout


def test_csv_and_json_have_the_same_figures(call, make_root):
    root = make_root(("alder", "birch"), prices=PRICES)
    fill(root)
    (first, _) = csv.DictReader(io.StringIO(call(root, "usage", "--csv", "--by", "day").stdout))
    document = json.loads(call(root, "usage", "--json", "--by", "day").stdout)
    assert {name: str(value) for name, value in document["data"][0].items()} == first
    assert first["cost"] == "1.8250"
    assert (document["total"]["cost"], document["total"]["requests"]) == ("3.6500", 2400)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "week"], "day, month, tenant"),
        (["--since", "last week"], "a day such as 2026-11-30"),
        (["--since", "2020-02-02", "--until", "2020-02-01"], "not before since"),
        (["--csv", "--json"], "one of --csv and --json"),
        (["--tenant", "No"], "tenant"),
    ],
)
def test_options_that_cannot_be_are_errors(call, make_root, options, message):
    result = call(make_root(("alder",)), "usage", *options)
    assert result.exit_code == 2
    assert message in result.stderr
