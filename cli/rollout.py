"""The commands rollout, history, corrections, promote, rollback, pause, pin, adopt and forget."""

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments import TenantArgument, check_tenant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from components.stages.workspace import Workspace
    from components.storage.database import Database

_TENANTS_SHOWN = 50


def rollout(ctx: typer.Context) -> None:
    """Run one rollout cycle: advance, promote or roll back every trial; record aliases moved by hand in MLflow.

    Prints what was done with each tenant, and what the trials wait for.
    """
    from cli.messages import show_progress
    from cli.output import print_line
    from components.stages.outcome import raise_on_failures
    from components.stages.rollout.cycle import run_idle_cycle, summarize_cycle
    from components.stages.run_metrics import record_flow_end
    from components.stages.workspace import Workspace
    from flows.run_local import find_named_server, run_flow
    from flows.secret_blocks import send_due_messages

    with show_progress():
        workspace, began_s = Workspace(ctx.obj), time.time()
        is_idle = not find_named_server() and run_idle_cycle(workspace)  # then no server has to start
        if is_idle:
            record_flow_end(workspace, "rollout", began_s)
            send_due_messages(workspace)
        results, failures = ([], []) if is_idle else run_flow("rollout", ctx.obj)
    moved_first = sorted(results, key=lambda one: (one.action == "wait", one.tenant))
    for one in moved_first[:_TENANTS_SHOWN]:
        print_line(one.sentence)
    if len(results) > _TENANTS_SHOWN:
        more = len(results) - _TENANTS_SHOWN
        print_line(f"and {more:,} more; `prefixfleet status --only on-trial` shows the trials")
    print_line(summarize_cycle(results, failures))
    raise_on_failures(failures)


def history(
    ctx: typer.Context,
    tenant: Annotated[
        str | None, typer.Argument(help="Tenant id. Default: all tenants.", callback=check_tenant)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each move as one line of JSON, with the numbers behind it.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the hash chain of the whole ledger instead: no line was changed.")
    ] = False,
) -> None:
    """Show every move and rejection, of one tenant or of all: when, by whom, from which version to which, and why."""
    from dataclasses import asdict

    from cli.output import print_json, print_table
    from components.errors import WorkspaceError
    from components.rollout.store.ledger import read_history as read
    from components.stages.workspace import Workspace

    database = Workspace(ctx.obj).database
    if verify:
        _verify_ledger(database)
        return
    entries = read(database, tenant)
    if not entries:
        fix = "check the name with `prefixfleet status`; `prefixfleet retrain` makes the first move"
        raise WorkspaceError("a tenant with moves in the ledger", f"{tenant or 'every tenant'}, without any", fix)
    if as_json:
        for entry in entries:
            print_json(asdict(entry))
        return
    columns = ["when (UTC)", "who", "from where", "what", "from", "to", "why"]
    rows = [
        [one.at, one.by, one.origin or "-", one.action, one.from_version or "-", one.to_version or "-", one.why]
        for one in entries
    ]
    if tenant is None:
        columns.insert(0, "tenant")
        rows = [[one.tenant or "-", *row] for one, row in zip(entries, rows, strict=True)]
    print_table(f"Moves of {tenant or 'all tenants'}", columns, rows)


def _verify_ledger(database: "Database") -> None:
    from cli.output import print_line
    from components.errors import WorkspaceError
    from components.rollout.store.ledger_chain import check_chain

    result = check_chain(database)
    if result.broken is not None:
        one = result.broken
        got = f"line {one.id} ({one.tenant}, {one.action}, {one.at}): {one.why}"
        fix = "compare it with a backup of the database; the lines before it continue the chain"
        raise WorkspaceError("a ledger of which no line was changed", got, fix)
    if result.missing_triggers:
        kept = f"; the lines continue the hash chain, with the last value {result.value}" if result.value else ""
        got = f"no trigger {', '.join(result.missing_triggers)}{kept}"
        fix = "last lines may be missing: compare with a backup of the database, and restore it"
        raise WorkspaceError("a ledger that the database's triggers protect from changes", got, fix)
    if not result.value:
        print_line(f"The ledger has no line with a hash yet; {result.lines} lines are by a release without the chain.")
        return
    old = f", {result.unchained} of them by a release without the chain" if result.unchained else ""
    print_line(f"The ledger's {result.lines} lines continue the hash chain{old}. Last value: {result.value}")


def corrections(
    ctx: typer.Context,
    tenant: TenantArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print each correction as one line of JSON.")] = False,
) -> None:
    """Show callers' corrections of a tenant's answers: when, by which API key and user, and the training line of each.

    A line's SHA-256 is that of its line in train.jsonl without the line feed.
    """
    from dataclasses import asdict

    from cli.output import print_json, print_table
    from components.errors import WorkspaceError
    from components.rollout.store.corrections import read_correction_origins as read
    from components.stages.workspace import Workspace

    origins = read(Workspace(ctx.obj).database, tenant)
    if not origins:
        fix = "check the name with `prefixfleet status`; callers send corrections to POST /v1/feedback"
        raise WorkspaceError("a tenant with corrections by callers", f"{tenant}, without any", fix)
    if as_json:
        for origin in origins:
            print_json(asdict(origin))
        return
    columns = ("when (UTC)", "key", "user", "answer", "choice", "version", "state", "line's SHA-256")
    rows = [
        (
            one.at,
            one.key_id or "-",
            one.end_user or "-",
            one.request,
            str(one.choice),
            one.version,
            one.state,
            (one.line_sha256 or "-")[:12],
        )
        for one in origins
    ]
    print_table(f"Corrections of {tenant}", columns, rows)


@contextmanager
def _open_for_move(root: Path) -> "Iterator[Workspace]":
    """Yield the workspace for a move by hand; show its progress, and send the messages on it."""
    from cli.messages import show_progress
    from components.stages.workspace import Workspace
    from flows.secret_blocks import send_due_messages

    with show_progress():
        workspace = Workspace(root)
        yield workspace
        send_due_messages(workspace)


def promote(
    ctx: typer.Context,
    tenant: TenantArgument,
    version: Annotated[
        str | None, typer.Option("--version", help="Version in MLflow. Default: the challenger, else the newest.")
    ] = None,
) -> None:
    """Make a registered version champion. Serving and the next gate follow the alias at once."""
    from components.stages.rollout.manual import promote as stage

    with _open_for_move(ctx.obj) as workspace:
        stage(workspace, tenant, version)


def rollback(
    ctx: typer.Context,
    tenant: TenantArgument,
    to: Annotated[
        str | None,
        typer.Option("--to", help="Version to make champion. Default: end the trial, else the former champion."),
    ] = None,
) -> None:
    """End the tenant's trial; if none is running, make the former champion champion again.

    `retrain` does not undo this until the tenant's data, parameters or base change.
    """
    from components.stages.rollout.manual import roll_back as stage

    with _open_for_move(ctx.obj) as workspace:
        stage(workspace, tenant, to)


def pause(
    ctx: typer.Context,
    tenant: TenantArgument,
    off: Annotated[bool, typer.Option("--off", help="Undo: resume the trial.")] = False,
) -> None:
    """Keep a trial at its present share. A challenger that fails a check is still rolled back."""
    from components.stages.rollout.manual import hold

    with _open_for_move(ctx.obj) as workspace:
        hold(workspace, tenant, "resume" if off else "pause")


def pin(
    ctx: typer.Context,
    tenant: TenantArgument,
    off: Annotated[bool, typer.Option("--off", help="Undo: let new versions become champion.")] = False,
) -> None:
    """Keep the present champion. New versions are registered but get no alias until the pin is removed."""
    from components.stages.rollout.manual import hold

    with _open_for_move(ctx.obj) as workspace:
        hold(workspace, tenant, "unpin" if off else "pin")


def adopt(ctx: typer.Context, tenant: TenantArgument) -> None:
    """Take a tenant over from another workspace that uses the same MLflow: its versions become this workspace's.

    No alias moves. The other workspace can then no longer register, promote or forget the tenant.
    """
    from components.stages.rollout.manual import adopt as stage

    with _open_for_move(ctx.obj) as workspace:
        stage(workspace, tenant)


def forget(
    ctx: typer.Context,
    tenant: TenantArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove everything of a tenant: data, versions, runs, artifacts, keys and caches, also from the DVC remotes.

    Then searches for anything left, and adds a line to the ledger. Older dataset versions lose the tenant's files too.
    """
    from cli.messages import show_progress
    from components.stages.commands.forget import forget as stage
    from components.stages.workspace import Workspace

    workspace = Workspace(ctx.obj)
    from flows.forget import open_prefect_record  # Prefect makes its folder at import, so only in a workspace

    if not yes:
        typer.confirm(f"Remove everything of {tenant}, also from the DVC remotes? This cannot be undone.", abort=True)
    with show_progress(), open_prefect_record() as record:
        stage(workspace, tenant, record=record)
