"""Commands on the fleet as MLflow sees it: status, promote, rollback."""

from typing import Annotated

import typer

from cli.tenants import FullCheck, Tenant, Tenants


def status(ctx: typer.Context, tenant: Tenants = None, full_check: FullCheck = False) -> None:
    """Show every tenant's data, champion, last verdict, and whether the champion is stale.

    A champion is stale when data, parameters or base ask for another prefix than it is: `prefixfleet retrain` makes it.
    """
    from cli.console import table
    from components.stages.status import status as stage
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
    table("Tenants (examples: train / validation / test)", columns, cells)


def promote(
    ctx: typer.Context,
    tenant: Tenant,
    version: Annotated[str | None, typer.Option("--version", help="Version in MLflow. Default: the newest.")] = None,
) -> None:
    """Make a registered version champion by hand; serving and the next gate follow the alias at once."""
    from cli.console import narrated
    from components.stages.register import promote as stage
    from components.stages.workspace import Workspace

    with narrated():
        stage(Workspace(ctx.obj), tenant, version)


def rollback(ctx: typer.Context, tenant: Tenant) -> None:
    """Make the version champion that was it before; retraining leaves it so until something changes."""
    from cli.console import narrated
    from components.stages.register import rollback as stage
    from components.stages.workspace import Workspace

    with narrated():
        stage(Workspace(ctx.obj), tenant)
