"""Leaves tenants out of a plan whose budget is spent. Knows plans and budgets; trains nothing."""

from collections.abc import Collection, Iterable

from components.stages.plan import Plan, PlanItem
from components.stages.progress import log_warning
from components.stages.workspace import Workspace
from components.usage.budgets import BudgetState, read_budget_states
from components.usage.periods import get_today


def read_states(workspace: Workspace, tenants: Iterable[str]) -> dict[str, BudgetState]:
    """Return the states of the tenants that have a budget. Raises WorkspaceError: the database does not answer."""
    return read_budget_states(workspace.database, tenants, workspace.params.for_tenant, get_today())


def find_refused(workspace: Workspace, items: Collection[PlanItem]) -> dict[str, str]:
    """Return tenant -> why it is not trained now, of the items that need training.

    A tenant whose budget is spent is not trained (unless its action is `alert`), nor one that builds on its prefix.
    Raises WorkspaceError: the database does not answer.
    """
    states = read_states(workspace, [item.tenant for item in items if item.reason])
    refused = {
        tenant: f"{state.sentence}; it is trained again in the next month, or with a larger budget.month"
        for tenant, state in states.items()
        if state.refuses_training
    }
    for item in items:
        if item.reason and item.tenant not in refused and item.train.shared in refused:
            refused[item.tenant] = f"it builds on the prefix of {item.train.shared}, which is not trained now"
    return refused


def leave_out_refused(workspace: Workspace, planned: Plan) -> Plan:
    """Return the plan without these tenants, which names them with the reason. Raises WorkspaceError."""
    return planned.refuse(find_refused(workspace, planned.items))


def warn_of_spent_budgets(workspace: Workspace, planned: Plan) -> None:
    """Log each tenant of the plan whose budget is spent, also if nothing follows from it. Raises WorkspaceError."""
    for state in read_states(workspace, planned.collect_fingerprints()).values():
        if state.is_spent:
            log_warning(f"{state.tenant}: {state.note}")
