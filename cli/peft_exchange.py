"""The commands `export` and `import`: exchange prefixes with other tools."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.arguments import TenantArgument


class ExchangeFormat(StrEnum):
    """Prefix formats of other tools."""

    peft = "peft"


FormatOption = Annotated[ExchangeFormat, typer.Option("--format", help="Format of the other tool.")]


def export(
    ctx: typer.Context,
    tenant: TenantArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to: new, empty, or an earlier export.")],
    version: Annotated[str | None, typer.Option("--version", help="Version in MLflow. Default: the champion.")] = None,
    trained: Annotated[
        bool, typer.Option("--trained", help="Export the prefix in out/train, registered or not.")
    ] = False,
    kind: FormatOption = ExchangeFormat.peft,
) -> None:
    """Export a tenant's prefix for another tool: a folder that `PeftModel.from_pretrained(base, FOLDER)` loads.

    Exports the champion, or the prefix in out/train if the tenant has no version. Both tools then generate the same
    text. Prefixes that PEFT's format cannot hold (encoder-decoder models, infixes, other methods) are refused.
    """
    from cli.messages import show_progress
    from cli.output import print_line
    from components.stages.commands.peft_exchange import export_peft
    from components.stages.workspace import Workspace

    if version is not None and trained:
        raise typer.BadParameter("pass either --version or --trained", param_hint="--trained")
    write = {ExchangeFormat.peft: export_peft}[kind]
    with show_progress():
        description = write(Workspace(ctx.obj), tenant, out, version, trained=trained)
    print_line(f"{out}: {kind.value} checkpoint of {description}")


def import_(
    ctx: typer.Context,
    tenant: TenantArgument,
    folder: Annotated[Path, typer.Argument(help="Folder that PeftModel.save_pretrained wrote.")],
    kind: FormatOption = ExchangeFormat.peft,
) -> None:
    """Import a prefix that PEFT trained: evaluate it, gate it, register it if it passes and make it champion.

    The tenant must have data, and its train.prefix_length must be that of the checkpoint. `retrain` does not replace
    the prefix until the tenant's data, parameters or base change; to train a new one now, remove out/train/TENANT.
    """
    from cli.messages import show_progress
    from cli.runs import exit_if_rejected, print_run
    from components.stages.commands.peft_exchange import import_peft
    from components.stages.preflight import check_ready
    from components.stages.workspace import Workspace
    from flows.run_local import run_flow

    read = {ExchangeFormat.peft: import_peft}[kind]
    with show_progress():
        check_ready(ctx.obj)
        workspace = Workspace(ctx.obj)
        with workspace.lock():
            read(workspace, tenant, folder)
        run = run_flow("retrain", ctx.obj, [tenant])
    print_run(run)
    exit_if_rejected(run)
