"""The commands `init` and `upgrade`: a workspace of one's own."""

from pathlib import Path
from typing import Annotated

import typer

DIFFERENT = 1


def init(
    folder: Annotated[Path, typer.Argument(help="New or empty folder, or a git repository.")],
    base: Annotated[
        str | None,
        typer.Option(help="Folder of a transformers model, or an id on the Hugging Face hub. Default: the built-in."),
    ] = None,
    remote: Annotated[
        str | None, typer.Option(help="DVC remote for data and results, such as s3://BUCKET/PATH, or a shared folder.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Put the built-in tenants' data into drops/.")] = False,
) -> None:
    """Make a workspace: git and DVC repository, params.yaml, stages, deployments and schedules."""
    from cli.output import print_line
    from components.stages.commands.demo import write_builtin_drops
    from components.stages.commands.init_workspace import make_workspace
    from components.stages.workspace import Workspace

    made = make_workspace(folder, base, remote)
    print_line(f"made a workspace in {made.root}; base: {made.base}")
    if not made.is_committed:
        print_line("its files are not committed: `git add -A && git commit` there")
    if not made.has_remote:
        print_line("no DVC remote: `dvc remote add -d team URL`, then set data.push to true in params.yaml")
    if demo:
        write_builtin_drops(Workspace(made.root))
        print_line(f"next: cd {folder} && prefixfleet retrain")
    else:
        print_line("next: see README.md there: A first tenant")


def upgrade(ctx: typer.Context) -> None:
    """Show what a new workspace of this version would have different. Changes nothing; exits 1 if there is anything.

    The output is a patch: save it, keep what you want, and apply it with `patch -p1`.
    """
    from cli.output import print_line, print_text
    from components.stages.commands.upgrade import find_differences
    from components.stages.workspace import Workspace

    differences = find_differences(Workspace(ctx.obj))
    if not differences:
        print_line("this workspace has all that a new one has; params.yaml has no unknown key")
        return
    for difference in differences:
        print_text(difference.diff.rstrip("\n"))
    raise typer.Exit(DIFFERENT)
