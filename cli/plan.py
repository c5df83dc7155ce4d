"""The command `plan`: what the next retraining would train, and what that takes. Trains nothing."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.arguments import FullCheckOption, TenantsOption

if TYPE_CHECKING:
    from components.stages.plan import Plan
    from components.stages.sharding.training_estimates import TrainingEstimate


def plan(
    ctx: typer.Context,
    tenant: TenantsOption = None,
    cost: Annotated[
        bool, typer.Option(help="Also estimate tokens, device seconds and money of each training.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    full_check: FullCheckOption = False,
) -> None:
    """Show which tenants `retrain` would train now, and why; drops that wait are not looked into.

    Tenants that moved to the next base are left out. With --cost, device seconds are estimated from the data, the
    parameters and how fast this workspace's earlier trainings were; docs/usage.md says what they are.
    """
    from cli.messages import show_progress
    from components.stages.dataset import find_tenants_with_drops
    from components.stages.next_base_view import find_moved_tenants
    from components.stages.plan import plan as make_plan
    from components.stages.plan_budgets import leave_out_refused
    from components.stages.sharding.training_estimates import estimate_trainings
    from components.stages.workspace import Workspace

    workspace = Workspace(ctx.obj, full_check=full_check)
    with show_progress():
        planned = make_plan(workspace, tenant).leave_out(find_moved_tenants(workspace))
        planned = leave_out_refused(workspace, planned)
    estimates = {one.tenant: one for one in estimate_trainings(workspace, planned)} if cost else {}
    drops = [one for one in find_tenants_with_drops(workspace) if tenant is None or one in tenant]
    _print(planned, estimates, drops, as_json=as_json)


def _print(planned: "Plan", estimates: "Mapping[str, TrainingEstimate]", drops: list[str], *, as_json: bool) -> None:
    from cli.output import print_columns, print_json, print_line, print_table
    from components.stages.progress import count_nouns, join_abbreviated
    from components.stages.sharding.training_estimates import add_estimates

    total = add_estimates(estimates.values())
    if as_json:
        items = [_to_json(one.tenant, one.reason, estimates) for one in planned.items]
        totals = {"total": total.to_json()} if estimates else {}
        print_json({"train": items, **totals, "not_trained": dict(planned.refused), "drops": drops}, indent=2)
        return
    heads = ["tenant", *(["tokens", "device s", "cost"] if estimates else []), "why"]
    rows = [[one.tenant, *_to_cells(estimates.get(one.tenant)), one.reason] for one in planned.items]
    rows += [
        [tenant, *(["0", "0", "-"] if estimates else []), f"not trained: {why}"]
        for tenant, why in planned.refused.items()
    ]
    if estimates and len(estimates) > 1:
        rows.append(["total", *_to_cells(total), ""])
    if rows and sys.stdout.isatty():
        print_table("Plan", heads, rows)
    elif rows:
        print_columns(heads, rows)
    print_line(f"{len(planned.items):,} to train, {len(planned.skipped):,} up to date")
    if estimates and total.device_seconds is None:
        print_line("device seconds are unknown: no training was measured in this workspace yet")
    if drops:
        waiting = count_nouns(len(drops), "drop waits", "drops wait")
        print_line(f"{waiting}, which `retrain` takes first: {join_abbreviated(drops)}")


def _to_json(tenant: str, reason: str, estimates: "Mapping[str, TrainingEstimate]") -> dict[str, Any]:
    own = estimates[tenant].to_json() if tenant in estimates else {}
    return {"tenant": tenant, "reason": reason, **own}


def _to_cells(estimate: "TrainingEstimate | None") -> list[str]:
    from components.usage.money import round_money

    if estimate is None:
        return []
    seconds = "-" if estimate.device_seconds is None else f"{estimate.device_seconds:,.1f}"
    cost = "-" if estimate.cost is None else f"{round_money(estimate.cost):,f} {estimate.currency}"
    return [f"{estimate.tokens:,}", seconds, cost]
