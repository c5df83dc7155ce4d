"""The commands `data import`, `data take` and `data check`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.arguments import OwnerOption, TenantsOption

app = typer.Typer(
    no_args_is_help=True,
    help="Import data sets as drops; check and take drops.\n\nA drop is new data of a tenant: "
    "drops/TENANT/{train,validation,test}.jsonl, each line "
    '`{"source": ..., "references": [...], "slice": ...}`. Taking a drop appends it to the tenant\'s data and makes a '
    "new dataset version.",
)


@app.command("import")
def import_(
    ctx: typer.Context,
    kind: Annotated[str, typer.Argument(help="Format: e2e, webnlg, dialogsum, dart, xsum or hub.")],
    path: Annotated[str, typer.Argument(help="File or folder of that format; for hub also the id of a data set.")],
    tenant: OwnerOption,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="KEY=VALUE for this format, such as source_field=document."),
    ] = None,
    take: Annotated[bool, typer.Option(help="Take the drop at once, or leave it in the drops folder.")] = True,
) -> None:
    """Read a data set of a known format as a tenant's drop, and take it into a new dataset version."""
    from cli.console import make_stdout, show_progress
    from components.stages.commands.drops import write_drop
    from components.stages.dataset import to_outcomes
    from components.stages.outcome import raise_on_failures
    from components.stages.workspace import Workspace

    root = ctx.obj.resolve()
    pairs = [text.partition("=") for text in option or ()]
    if not all(equals for _, equals, _ in pairs):
        raise typer.BadParameter("pass KEY=VALUE", param_hint="--option")
    with show_progress():
        counts = write_drop(Workspace(root), kind, path, tenant, {key: value for key, _, value in pairs})
        sizes = ", ".join(f"{split} {count}" for split, count in counts.items())
        if take:
            from flows.run_local import run_flow

            raise_on_failures(to_outcomes(run_flow("dataset", root, [tenant])))
    next_step = "" if take else "; run `prefixfleet data take` to take the drop"
    make_stdout().print(f"{tenant}: {sizes} examples{next_step}", markup=False)


@app.command("take")
def take_(ctx: typer.Context, tenant: TenantsOption = None) -> None:
    """Check all drops and take the valid ones into a new dataset version; rejected lines go to quarantine/."""
    from cli.console import show_progress
    from components.stages.dataset import to_outcomes
    from components.stages.outcome import raise_on_failures
    from flows.run_local import run_flow

    with show_progress():
        raise_on_failures(to_outcomes(run_flow("dataset", ctx.obj, tenant)))


@app.command("check")
def check(ctx: typer.Context, tenant: TenantsOption = None) -> None:
    """Check drops line by line without taking them; exit code 1 if a line or a whole drop would be rejected."""
    from cli.console import make_stdout, print_table
    from components.stages.commands.drops import check_drops
    from components.stages.workspace import Workspace

    checks = check_drops(Workspace(Path(ctx.obj)), tenant)
    reports = {name: one.report for name, one in checks.items() if one.report is not None}
    rows = [
        (
            name,
            *(str(len(report.accepted.get(split, []))) for split in ("train", "validation", "test")),
            str(len(report.rejects)),
        )
        for name, report in reports.items()
    ]
    print_table("Drops", ("tenant", "train", "validation", "test", "rejected"), rows)
    rejects = [reject for report in reports.values() for reject in report.rejects]
    lines = [f"{reject.file}:{reject.line}: {reject.reason}" for reject in rejects]
    lines += [f"the drop of {name} would be refused: {one.refusal}" for name, one in checks.items() if one.refusal]
    for line in lines:
        make_stdout().print(line, markup=False, soft_wrap=True)
    if lines:
        raise typer.Exit(1)
