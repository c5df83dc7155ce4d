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
    kind: Annotated[
        str,
        typer.Argument(
            help="Format: csv, tsv, jsonl or parquet (your own columns); openai or sharegpt (chat data); "
            "hub (a data set of the Hugging Face hub); e2e, webnlg, dialogsum, dart or xsum."
        ),
    ],
    path: Annotated[str, typer.Argument(help="File, or folder of one file a split; for hub the id of a data set.")],
    tenant: OwnerOption,
    source_field: Annotated[str | None, typer.Option(help="Column with the sources. Default: source.")] = None,
    reference_field: Annotated[
        str | None, typer.Option(help="Column with the references, or several joined by commas. Default: references.")
    ] = None,
    slice_field: Annotated[str | None, typer.Option(help="Column with the slices. Default: none.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of a single file whose name has none: train, validation or test.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", "-o", help="KEY=VALUE for this format: names=verbatim for webnlg, messages_field=chat."
        ),
    ] = None,
    take: Annotated[bool, typer.Option(help="Take the drop at once, or leave it in the drops folder.")] = True,
) -> None:
    """Read a data set of a known format as a tenant's drop, and take it into a new dataset version.

    A table of your own: `prefixfleet data import csv FILE --tenant TENANT --source-field COLUMN --reference-field
    COLUMN`. Cells are read as text. Without these options, a column `messages` or `conversations` holds chat data.
    """
    from cli.messages import show_progress
    from cli.output import print_line
    from components.stages.commands.drops import write_drop
    from components.stages.dataset import to_outcomes
    from components.stages.outcome import raise_on_failures
    from components.stages.preflight import check_ready
    from components.stages.progress import log_info
    from components.stages.workspace import Workspace

    root = ctx.obj.resolve()
    pairs = [text.partition("=") for text in option or ()]
    if not all(equals for _, equals, _ in pairs):
        raise typer.BadParameter("pass KEY=VALUE", param_hint="--option")
    named = {
        "source_field": source_field,
        "reference_field": reference_field,
        "slice_field": slice_field,
        "split": split,
    }
    options = {key: value for key, value in named.items() if value is not None}
    options |= {key: value for key, _, value in pairs}
    with show_progress():
        if take:
            check_ready(root)
        counts = write_drop(Workspace(root), kind, path, tenant, options)
        sizes = ", ".join(f"{split} {count}" for split, count in counts.items())
        if take:
            from flows.run_local import run_flow

            raise_on_failures(to_outcomes(run_flow("dataset", root, [tenant])))
        else:
            from components.stages.commands.check import check_data

            facts = check_data(Workspace(root), [tenant]).tenants[tenant].facts
            log_info(
                f"{tenant}: {facts.describe()}" if facts and facts.describe() else f"{tenant}: no line repeats another"
            )
    next_step = "" if take else "; `prefixfleet data check` checks the drop, `prefixfleet data take` takes it"
    print_line(f"{tenant}: {sizes} examples{next_step}")


@app.command("take")
def take_(ctx: typer.Context, tenant: TenantsOption = None) -> None:
    """Check all drops and take the valid ones into a new dataset version; rejected lines go to quarantine/."""
    from cli.messages import show_progress
    from components.stages.dataset import to_outcomes
    from components.stages.outcome import raise_on_failures
    from components.stages.preflight import check_ready
    from flows.run_local import run_flow

    with show_progress():
        check_ready(ctx.obj)
        raise_on_failures(to_outcomes(run_flow("dataset", ctx.obj, tenant)))


@app.command("check")
def check(
    ctx: typer.Context,
    tenant: TenantsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result for all tenants as JSON.")] = False,
) -> None:
    """Check drops line by line without taking them; without drops, check the dataset itself.

    Shows for each split what would be taken, duplicates, overlaps between splits, lengths in tokens, scripts, and the
    first rejected lines of each kind. Exit code 1 if a line or a whole drop would be rejected.
    """
    from cli.data_check import COLUMNS, make_lines, make_rows, to_json
    from cli.messages import show_progress
    from cli.output import print_json, print_line, print_table
    from components.stages.commands.check import check_data
    from components.stages.workspace import Workspace

    workspace = Workspace(Path(ctx.obj))
    with show_progress():
        result = check_data(workspace, tenant)
    faulty = any(one.is_faulty for one in result.tenants.values())
    if as_json:
        print_json(to_json(result), indent=2)
        raise typer.Exit(int(faulty))
    dropped = any(one.origin == "drop" for one in result.tenants.values())
    if not dropped:
        print_line(f"No drop waits in {workspace.drops}; this is a check of the dataset itself.")
    print_table("Drops that wait" if dropped else "Dataset", COLUMNS, make_rows(result))
    for line in make_lines(result):
        print_line(line)
    if dropped and not faulty:
        print_line("No line would be rejected; `prefixfleet data take` takes these drops.")
    raise typer.Exit(int(faulty))
