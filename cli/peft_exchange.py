"""Commands that exchange prefixes with other tools: export and import."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.arguments import TenantArgument


class ExchangeFormat(StrEnum):
    """The formats that other tools keep prefixes in."""

    peft = "peft"


FormatOption = Annotated[ExchangeFormat, typer.Option("--format", help="The other tool's format.")]


def export(
    ctx: typer.Context,
    tenant: TenantArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder to write: new, empty, or an earlier export.")],
    version: Annotated[str | None, typer.Option("--version", help="Version in MLflow. Default: the champion.")] = None,
    trained: Annotated[bool, typer.Option("--trained", help="The prefix in out/train, registered or not.")] = False,
    kind: FormatOption = ExchangeFormat.peft,
) -> None:
    """Write a tenant's prefix for another tool: a folder that `PeftModel.from_pretrained(base, FOLDER)` loads.

    Takes the champion, or the prefix in out/train where nothing is registered. The model says the same under either
    tool. Prefixes that PEFT has no place for (encoder-decoder models, infixes, other methods) are refused.
    """
    from cli.console import make_stdout, show_progress
    from components.stages.commands.peft_exchange import export_peft
    from components.stages.workspace import Workspace

    if version is not None and trained:
        raise typer.BadParameter("--version and --trained name two prefixes", param_hint="--trained")
    write = {ExchangeFormat.peft: export_peft}[kind]
    with show_progress():
        told = write(Workspace(ctx.obj), tenant, out, version, trained=trained)
    make_stdout().print(f"{out}: {kind.value} checkpoint of {told}", markup=False, soft_wrap=True)


def import_(
    ctx: typer.Context,
    tenant: TenantArgument,
    folder: Annotated[Path, typer.Argument(help="Folder that PeftModel.save_pretrained wrote.")],
    kind: FormatOption = ExchangeFormat.peft,
) -> None:
    """Take in a prefix that PEFT trained: evaluate and gate it, register what passes and make it champion.

    The tenant needs data, and train.prefix_length must be the checkpoint's. `retrain` leaves the prefix alone until
    the tenant's data, parameters or base change; to train in its place now, remove out/train/TENANT first.
    """
    from cli.console import show_progress
    from cli.runs import print_run
    from components.stages.commands.peft_exchange import import_peft
    from components.stages.outcome import raise_on_failures
    from components.stages.workspace import Workspace
    from flows.run_local import run_flow as run_flow

    place, take = Workspace(ctx.obj), {ExchangeFormat.peft: import_peft}[kind]
    with show_progress():
        with place.lock():
            take(place, tenant, folder)
        run = run_flow("retrain", ctx.obj, [tenant])
    print_run(run)
    raise_on_failures(run.outcomes)
