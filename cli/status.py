"""The command `status`: one row a tenant, those that need attention first."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments import FullCheckOption, TenantsOption

if TYPE_CHECKING:
    from components.stages.reports.fleet_status import FleetStatus, TenantStatus
    from components.stages.reports.tenant_state import TenantState
    from components.stages.workspace import Workspace

_ROWS_ON_A_TERMINAL = 50


def status(
    ctx: typer.Context,
    tenant: TenantsOption = None,
    only: Annotated[
        str | None,
        typer.Option(
            help="Only tenants in these states, separated by commas; `trouble`: broken, foreign, failed, refused."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; docs/status.md has its keys.")
    ] = False,
    everyone: Annotated[
        bool, typer.Option("--all", help=f"On a terminal, also show more than {_ROWS_ON_A_TERMINAL} tenants.")
    ] = False,
    full_check: FullCheckOption = False,
) -> None:
    """Show every tenant's state, champion and trial, and the drops that wait; what needs attention comes first.

    A tenant has the first of these states that applies: broken, foreign, failed, refused, rolled-back, on-trial,
    pinned, stale, new, healthy. docs/status.md explains them.
    """
    from cli.output import print_json, print_line
    from components.stages.reports.status import read_status as stage
    from components.stages.workspace import Workspace

    states = _parse_states(only)
    workspace = Workspace(ctx.obj, full_check=full_check)
    fleet = stage(workspace, tenant)
    chosen = [row for row in fleet.tenants if states is None or row.state in states]
    if as_json:
        print_json({**fleet.to_json(), "tenants": [row.to_json() for row in chosen]}, indent=2)
        return
    shown = chosen if everyone or not sys.stdout.isatty() else chosen[:_ROWS_ON_A_TERMINAL]
    if shown:
        _print_rows(shown)
    for line in _summarize(workspace, fleet, chosen[len(shown) :]):
        print_line(line)


def _parse_states(text: str | None) -> "set[TenantState] | None":
    from components.errors import ConfigError
    from components.stages.reports.tenant_state import STATES, TROUBLE

    if text is None:
        return None
    words = [word.strip().replace(" ", "-") for word in text.split(",")]
    known = {name: (name,) for name in STATES} | {"trouble": TROUBLE}
    for word in words:
        if word not in known:
            raise ConfigError("states of tenants after --only", repr(word), f"choose from {', '.join(known)}")
    return {state for word in words for state in known[word]}


def _print_rows(rows: "Sequence[TenantStatus]") -> None:
    from cli.output import print_columns, print_table

    heads = ("tenant", "state", "champion", "BLEU", "examples", "why")
    cells = [
        (
            row.tenant,
            row.state,
            row.champion or "-",
            "-" if row.bleu is None else f"{row.bleu:.1f}",
            "/".join(map(str, row.examples)),
            "; ".join(filter(None, (row.reason, *row.notes))),
        )
        for row in rows
    ]
    if not sys.stdout.isatty():
        print_columns(heads, cells)
        return
    from rich.table import Column

    fixed = [Column(head, no_wrap=True) for head in heads[1:-1]]
    columns = (Column("tenant", overflow="fold", min_width=8), *fixed, Column("why", overflow="fold", ratio=1))
    print_table("Tenants (examples: train/validation/test)", columns, cells)


def _summarize(workspace: "Workspace", fleet: "FleetStatus", hidden: "Sequence[TenantStatus]") -> list[str]:
    from components.stages.progress import count_nouns, join_abbreviated
    from components.stages.reports.tenant_state import STATES

    lines = []
    if hidden:
        counts = [f"{count:,} {state}" for state in STATES if (count := sum(one.state == state for one in hidden))]
        lines.append(f"and {', '.join(counts)}; `--all` shows them, `--only STATE` chooses")
    if fleet.tenants:
        counts = [f"{count:,} {state}" for state, count in fleet.count_states().items()]
        lines.append(f"{len(fleet.tenants):,} tenants: {', '.join(counts)}")
    elif fleet.drops:
        lines.append("no tenant has data yet")
    elif (workspace.root / "data.dvc").exists():
        lines.append("data/ is missing; `dvc pull` fetches the dataset version in data.dvc")
    else:
        lines.append("no tenant has data yet; `prefixfleet data import --help`, or `prefixfleet demo` for an example")
    if lost := _describe_messages(workspace):
        lines.append(lost)
    if fleet.drops:
        names = join_abbreviated(fleet.drops)
        waiting = count_nouns(len(fleet.drops), "drop waits", "drops wait")
        taken = "`prefixfleet data take` takes what waits, as does `retrain`"
        lines.append(f"{waiting}: {names}; {taken}")
    return lines


def _describe_messages(workspace: "Workspace") -> str:
    """Return how many messages wait for a receiver that failed, or were given up; "": none."""
    from components.rollout.store.deliveries import count_deliveries

    counts = count_deliveries(workspace.database) if workspace.params.notify.targets else {}
    failing = {name: one for name, one in counts.items() if one.problem}
    if not failing:
        return ""
    waiting = sum(one.waiting for one in failing.values())
    lost = sum(one.given_up for one in failing.values())
    names = ", ".join(failing)
    return f"messages to {names} fail: {waiting:,} wait, {lost:,} were given up; see `prefixfleet notify list`"
