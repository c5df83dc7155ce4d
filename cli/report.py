"""The command `report`: a night as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    ctx: typer.Context,
    run: Annotated[
        int | None, typer.Argument(min=1, max=2**31 - 1, help="Number of the run. Default: the last that has ended.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: out/nights/RUN.html.")
    ] = None,
) -> None:
    """Write the report of a night: one HTML file that needs no other, with what needs a person first.

    `retrain` and `migrate` write it at their end. The command writes it again from the database, also for older runs.
    """
    from cli.output import print_line
    from components.stages.reports.night_files import write_report
    from components.stages.workspace import Workspace

    print_line(str(write_report(Workspace(ctx.obj), run, output)))
