"""The command `prune`: remove what is old."""

from typing import Annotated

import typer

from cli.arguments import TenantsOption


def prune(
    ctx: typer.Context,
    tenant: TenantsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
) -> None:
    """Remove what the section `retention` does not keep: versions, runs, objects of the exchange and of DVC, records.

    Kept in any case: versions with an alias or on trial, the last two champions before the current one, what kept
    versions were made from, and the data that they were trained on. docs/retention.md tells the rest.
    """
    from cli.messages import show_progress
    from cli.output import print_line, print_table
    from components.stages.retention.prune import prune as remove_old
    from components.stages.retention.result import make_rows, summarize_pruning
    from components.stages.workspace import Workspace

    with show_progress():
        pruned = remove_old(Workspace(ctx.obj), tenant, dry_run=dry_run)
    if rows := make_rows(pruned):
        print_table("To be removed" if dry_run else "Removed", ["tenant", "what", "number", "bytes"], rows)
    print_line(summarize_pruning(pruned, dry_run=dry_run))
