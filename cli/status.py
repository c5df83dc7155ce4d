"""The command `status`: one row a tenant."""

import typer

from cli.arguments import FullCheckOption, TenantsOption


def status(ctx: typer.Context, tenant: TenantsOption = None, full_check: FullCheckOption = False) -> None:
    """Show every tenant's data, champion and last verdict, and whether the champion is stale.

    A champion is stale if it was trained on other data, parameters or another base than today's; `prefixfleet retrain`
    trains a new one.
    """
    from cli.console import print_table
    from components.stages.reports.status import read_status as stage
    from components.stages.workspace import Workspace

    rows = stage(Workspace(ctx.obj, full_check=full_check), tenant)
    columns = ("tenant", "examples", "data", "champion", "BLEU", "last verdict", "stale")
    cells = [
        (
            row.tenant,
            " / ".join(map(str, row.examples)),
            row.data_digest,
            row.champion,
            row.bleu,
            row.verdict,
            row.stale or "no",
        )
        for row in rows
    ]
    print_table("Tenants (examples: train / validation / test)", columns, cells)
