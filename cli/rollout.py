"""Commands on how versions reach their tenants: rollout, history, promote, rollback, pause, pin, forget."""

import json
from typing import Annotated

import typer

from cli.arguments import TenantArgument

OffOption = Annotated[bool, typer.Option("--off", help="Take it back.")]


def rollout(ctx: typer.Context) -> None:
    """Do one cycle now: advance, promote or take back whoever is on trial, and record what was moved in MLflow."""
    from cli.console import make_stdout, show_progress
    from components.stages.outcome import raise_on_failures
    from components.stages.rollout.cycle import summarize_cycle
    from flows.run_local import run_flow

    with show_progress():
        rolled, troubles = run_flow("rollout", ctx.obj)
    make_stdout().print(summarize_cycle(rolled, troubles))
    raise_on_failures(troubles)


def history(
    ctx: typer.Context,
    tenant: TenantArgument,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a move, with its figures.")] = False,
) -> None:
    """Show every move of a tenant's versions: when, who or what, from, to, and why."""
    from dataclasses import asdict

    from cli.console import make_stdout, print_table
    from components.errors import WorkspaceError
    from components.rollout.store.ledger import read_history as read
    from components.stages.workspace import Workspace

    entries = read(Workspace(ctx.obj).database, tenant)
    if not entries:
        fix = "look for its name in `prefixfleet status`; a version's first move comes with `prefixfleet retrain`"
        raise WorkspaceError("a tenant with moves in the ledger", f"{tenant}, without any", fix)
    if as_json:
        for entry in entries:
            make_stdout().print(json.dumps(asdict(entry), ensure_ascii=False), soft_wrap=True, markup=False)
        return
    columns = ("when (UTC)", "who", "what", "from", "to", "why")
    rows = [(one.at, one.by, one.action, one.from_version or "-", one.to_version or "-", one.why) for one in entries]
    print_table(f"Moves of {tenant}", columns, rows)


def promote(
    ctx: typer.Context,
    tenant: TenantArgument,
    version: Annotated[
        str | None, typer.Option("--version", help="Version in MLflow. Default: the one on trial, else the newest.")
    ] = None,
) -> None:
    """Make a registered version champion by hand; serving and the next gate follow the alias at once."""
    from cli.console import show_progress
    from components.stages.rollout.manual import promote as stage
    from components.stages.workspace import Workspace

    with show_progress():
        stage(Workspace(ctx.obj), tenant, version)


def rollback(
    ctx: typer.Context,
    tenant: TenantArgument,
    to: Annotated[str | None, typer.Option("--to", help="Version to go back to. Default: see above.")] = None,
) -> None:
    """End the tenant's trial; or, where none runs, make the version champion that was it before.

    Retraining leaves it so until something changes.
    """
    from cli.console import show_progress
    from components.stages.rollout.manual import roll_back as stage
    from components.stages.workspace import Workspace

    with show_progress():
        stage(Workspace(ctx.obj), tenant, to)


def pause(ctx: typer.Context, tenant: TenantArgument, off: OffOption = False) -> None:
    """Hold a trial at its share; it is still taken back when a check calls it worse."""
    from cli.console import show_progress
    from components.stages.rollout.manual import hold
    from components.stages.workspace import Workspace

    with show_progress():
        hold(Workspace(ctx.obj), tenant, "resume" if off else "pause")


def pin(ctx: typer.Context, tenant: TenantArgument, off: OffOption = False) -> None:
    """Keep today's champion, whatever is trained; new versions are registered and wait."""
    from cli.console import show_progress
    from components.stages.rollout.manual import hold
    from components.stages.workspace import Workspace

    with show_progress():
        hold(Workspace(ctx.obj), tenant, "unpin" if off else "pin")


def forget(
    ctx: typer.Context,
    tenant: TenantArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a tenant for good: data, versions, runs, artifacts, keys, caches, also from the DVC remotes.

    Ends with a search for what is left, and a line in the ledger. Older dataset versions lose the tenant's files.
    """
    from cli.console import show_progress
    from components.stages.commands.forget import forget as stage
    from components.stages.workspace import Workspace
    from flows.forget import open_prefect_record

    if not yes:
        typer.confirm(f"Remove everything of {tenant}, also from the DVC remotes? Nothing brings it back.", abort=True)
    with show_progress(), open_prefect_record() as record:
        stage(Workspace(ctx.obj), tenant, record=record)
