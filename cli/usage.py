"""The command `usage`: requests, tokens, device time, stored bytes and money, by tenant."""

import csv
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.arguments import TenantsOption

if TYPE_CHECKING:
    from components.usage.report import UsageRow


def usage(
    ctx: typer.Context,
    tenant: TenantsOption = None,
    since: Annotated[
        str | None, typer.Option(help="First day (UTC), as 2026-11-01. Default: the first of the last day's month.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last day (UTC). Default: today.")] = None,
    by: Annotated[str, typer.Option(help="day, month or tenant: one row for each of a tenant's days, ...")] = "tenant",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; docs/usage.md has its keys.")] = False,
) -> None:
    """Show what each tenant used: requests, tokens, device seconds of serving and training, stored bytes, and its cost.

    The cost is there if params.yaml has prices. docs/usage.md says how each figure is measured.
    """
    from components.errors import ConfigError
    from components.stages.workspace import Workspace
    from components.usage.periods import get_today, make_period, parse_date
    from components.usage.report import GROUPINGS, add_rows, read_report

    if as_csv and as_json:
        raise ConfigError("one of --csv and --json", "both", "leave one out")
    grouping = next((one for one in GROUPINGS if one == by), None)
    if grouping is None:
        raise ConfigError(f"--by {', '.join(GROUPINGS)}", repr(by), "choose one of them")
    begin, end = since and parse_date(since, "--since"), until and parse_date(until, "--until")
    period = make_period(begin or None, end or None, get_today())
    workspace = Workspace(ctx.obj)
    rows = read_report(workspace.database, period, grouping, workspace.params.for_tenant, tenant)
    if as_csv:
        _print_csv(rows)
        return
    total = add_rows(rows, "total", f"{period.since}..{period.until}")
    _print(rows, total, as_json=as_json)


def _print(rows: "Sequence[UsageRow]", total: "UsageRow", *, as_json: bool) -> None:
    from cli.output import print_columns, print_json, print_line, print_table

    if as_json:
        sums = {name: value for name, value in total.to_json().items() if name not in ("tenant", "stored_bytes")}
        print_json({"data": [row.to_json() for row in rows], "total": sums}, indent=2)
        return
    if not rows:
        print_line(f"nothing was used: {total.period} (UTC)")
        return
    heads = ["tenant", "period", "requests", "tokens in", "tokens out", "serving s", "training s", "stored MB"]
    heads += ["cost"] if total.cost is not None else []
    cells = [_to_cells(row, with_cost=total.cost is not None) for row in rows]
    if len(rows) > 1:
        cells.append(_to_cells(total, with_cost=total.cost is not None))
    if sys.stdout.isatty():
        print_table("Usage", heads, cells)
    else:
        print_columns(heads, cells)


def _to_cells(row: "UsageRow", *, with_cost: bool) -> list[str]:
    from components.usage.money import round_money

    used = row.usage
    cost = "-" if row.cost is None else f"{round_money(row.cost):,f} {row.currency}"
    stored = "" if row.tenant == "total" else f"{used.stored_bytes / 1e6:,.1f}"
    counts = [f"{count:,}" for count in (used.requests, used.input_tokens, used.output_tokens)]
    seconds = [f"{count / 1e6:,.1f}" for count in (used.serving_us, used.training_us)]
    return [row.tenant, row.period, *counts, *seconds, stored, *([cost] if with_cost else [])]


def _print_csv(rows: "Sequence[UsageRow]") -> None:
    from components.usage.report import COLUMNS, MONEY_COLUMNS

    columns: list[Any] = [*COLUMNS, *(MONEY_COLUMNS if any(row.cost is not None for row in rows) else ())]
    writer = csv.DictWriter(sys.stdout, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.to_json() for row in rows)
    sys.stdout.flush()
