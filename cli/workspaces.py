"""The commands `init` and `upgrade`: a workspace of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components.errors import ConfigError

if TYPE_CHECKING:
    from components.stages.workspace import Workspace

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


def upgrade(
    ctx: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Say what this release needs of this workspace and its databases.")
    ] = False,
    tables: Annotated[
        bool, typer.Option("--tables", help="Bring the rollout's tables to this release; servers go on meanwhile.")
    ] = False,
    contract: Annotated[
        bool, typer.Option("--contract", help="With --tables: also remove what only older releases use.")
    ] = False,
) -> None:
    """Show what a new workspace of this version would have different. Changes nothing; exits 1 if there is anything.

    The output is a patch: save it, keep what you want, and apply it with `patch -p1`. docs/upgrading.md has the course
    of an upgrade.
    """
    from cli.output import print_line, print_text
    from components.stages.commands.upgrade import find_differences
    from components.stages.workspace import Workspace

    workspace = Workspace(ctx.obj)
    if contract and not tables:
        raise ConfigError("--contract together with --tables", "--contract alone", "add --tables")
    if check and tables:
        raise ConfigError("--check or --tables", "both", "run one after the other")
    if check:
        _print_check(workspace)
        return
    if tables:
        _upgrade_tables(workspace, contract=contract)
        return
    differences = find_differences(workspace)
    if not differences:
        print_line("this workspace has all that a new one has; params.yaml has no unknown key")
        return
    for difference in differences:
        print_text(difference.diff.rstrip("\n"))
    raise typer.Exit(DIFFERENT)


def _print_check(workspace: "Workspace") -> None:
    from cli.output import print_line, print_table
    from components.stages.commands.upgrade_check import check_upgrade

    parts = check_upgrade(workspace)
    print_table("Upgrade", ["part", "here", "this release"], [[one.name, one.present, one.wanted] for one in parts])
    todo = [one for one in parts if one.todo]
    for one in todo:
        print_line(f"{one.name}: {one.todo}")
    if todo:
        raise typer.Exit(DIFFERENT)
    print_line("nothing to do")


def _upgrade_tables(workspace: "Workspace", *, contract: bool) -> None:
    from cli.output import print_line
    from components.rollout.store.database import find_database_url, inspect_tables, upgrade_tables

    url = find_database_url(workspace.params.registry, workspace.root)
    before = inspect_tables(url)
    applied = upgrade_tables(url, contract=contract)
    left = inspect_tables(url).pending
    print_line(
        f"the rollout's tables: revision {before.revision or 'none'}; applied: {', '.join(applied) or 'nothing'}"
    )
    for one in left:
        print_line(f"not applied: {one.id}: {one.what} Older releases use it; --contract removes it")
