"""The command `prune`: remove old versions and runs."""

from typing import Annotated

import typer

from cli.arguments import TenantsOption


def prune(
    ctx: typer.Context,
    tenant: TenantsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
) -> None:
    """Remove the versions and runs in MLflow, with their files, that the section `retention` does not keep.

    Kept in any case: versions with an alias or on trial, the last two champions before the current one, and what the
    prefixes in out/ were made from. docs/retention.md tells the rest.
    """
    from cli.messages import show_progress
    from cli.output import print_line, print_table
    from components.stages.retention.prune import prune as remove_old
    from components.stages.retention.prune import summarize_pruning
    from components.stages.workspace import Workspace

    with show_progress():
        pruned = remove_old(Workspace(ctx.obj), tenant, dry_run=dry_run)
    if pruned:
        rows = [[one.tenant, ", ".join(one.versions) or "-", str(one.runs), f"{one.size_bytes:,}"] for one in pruned]
        title = "To be removed" if dry_run else "Removed"
        print_table(title, ["tenant", "versions", "runs without a version", "bytes"], rows)
    print_line(summarize_pruning(pruned, dry_run=dry_run))
