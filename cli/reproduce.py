"""The command that runs the paper's experiments and lays the measured figures beside the published ones."""

from pathlib import Path
from typing import Annotated

import typer

_BASE, _ENCODER_DECODER = "gpt2-medium", "facebook/bart-large"


def reproduce(
    ctx: typer.Context,
    experiment: Annotated[
        str, typer.Argument(help="table1, table2, table3, lowdata, length, init, infix or inputlength.")
    ],
    data: Annotated[
        str,
        typer.Option(
            help="The published data set: E2E's zip, WebNLG's or DART's release, DialogSum's, XSUM's files or id."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option(help=f"Folder or hub id. Default: {_BASE}; {_ENCODER_DECODER} for table3 and inputlength."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(help="Hyperparameters: `paper` is its appendix, `small` suits a base of a few million values."),
    ] = "paper",
    seeds: Annotated[str, typer.Option(help="Training seeds.")] = "0,1",
    samples: Annotated[int, typer.Option(help="Low-data samples a size.")] = 5,
    sizes: Annotated[str | None, typer.Option(help="Low-data sizes, as 50,100,200,500.")] = None,
    lengths: Annotated[str | None, typer.Option(help="Slots, as 1,2,5,10,20,40; for length and infix.")] = None,
    budget: Annotated[
        str, typer.Option(help="`paper` for the preset's epochs, or optimizer steps a run at most.")
    ] = "paper",
    inputs: Annotated[int | None, typer.Option(help="Score so many evenly spaced test inputs. Default: all.")] = None,
    only: Annotated[str | None, typer.Option(help="Rows of the table, as full,prefix. Default: all.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables, figure and results. Default: out/reproduction.")
    ] = None,
) -> None:
    """Run an experiment of Li & Liang 2021: measured beside published scores, with intervals, time and memory.

    Writes OUT/EXPERIMENT.md, .csv, .json and .png, and a JSON file for every result. Stopped by Ctrl-C or killed, the
    same command goes on where it was; results that are there are not measured again. See docs/reproduction.md.
    """
    from cli.console import make_stderr, make_stdout, show_progress
    from components.reproduction.experiment_run import find_computable_metrics, read_base_facts
    from components.reproduction.experiment_run import reproduce as run
    from components.reproduction.output_files import write_experiment_files
    from components.reproduction.request import make_request

    request = make_request(
        experiment,
        base=base or (_ENCODER_DECODER if experiment in ("table3", "inputlength") else _BASE),
        data=data,
        preset=preset,
        seeds=seeds,
        samples=samples,
        sizes=sizes,
        lengths=lengths,
        budget=budget,
        inputs=inputs,
        only=only,
    )
    folder = out or ctx.obj / "out" / "reproduction"
    try:
        with show_progress():
            files = run(
                request,
                folder,
                read_facts=read_base_facts,
                find_metrics=find_computable_metrics,
                write_files=write_experiment_files,
            )
    except KeyboardInterrupt:
        told = f"stopped by Ctrl-C; what is measured stands in {folder}, and the same command goes on from there."
        make_stderr().print(told, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    for file in files:
        make_stdout().print(str(file), markup=False, soft_wrap=True)
