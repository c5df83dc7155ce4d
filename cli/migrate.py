"""The command `migrate`: move the fleet to another base, tenant by tenant."""

from typing import Annotated

import typer


def migrate(
    ctx: typer.Context,
    finish: Annotated[
        bool, typer.Option("--finish", help="End the migration: take the results for the new base into out/.")
    ] = False,
) -> None:
    """Run one wave: train the next tenants for `next_base` in params.yaml, and switch over those that pass the gate.

    A tenant is judged against its champion on the same texts. Until it has moved, the present base serves it; a second
    server (`prefixfleet serve --next-base`) serves those that have moved. docs/triggers.md tells the whole course.
    """
    from cli.messages import show_progress
    from cli.output import print_line
    from cli.runs import REJECTED_STATUS, print_rejections
    from components.stages.outcome import raise_on_failures
    from components.stages.workspace import Workspace

    if finish:
        from components.stages.migration.finish import finish_migration

        workspace = Workspace(ctx.obj)
        with show_progress(), workspace.lock():
            moved = finish_migration(workspace)
        print_line(f"{len(moved):,} tenants have moved; the next `prefixfleet retrain` records their results in DVC")
        return
    from components.stages.next_base_view import NextBaseView
    from flows.run_local import run_flow

    NextBaseView(Workspace(ctx.obj))  # raises an error if params.yaml has no next_base
    with show_progress():
        result = run_flow("migrate", ctx.obj)
    print_line(result.sentence)
    print_rejections(result.rejected)
    raise_on_failures(result.outcomes)
    if result.rejected:
        raise typer.Exit(REJECTED_STATUS)
