"""The command `reproduce`: run the paper's experiments and compare measured with published figures."""

from pathlib import Path
from typing import Annotated

import typer

from cli.stop_signals import describe_stop

_BASE, _ENCODER_DECODER = "gpt2-medium", "facebook/bart-large"


def reproduce(
    ctx: typer.Context,
    experiment: Annotated[
        str, typer.Argument(help="table1, table2, table3, lowdata, length, init, infix or inputlength.")
    ],
    data: Annotated[
        str,
        typer.Option(
            help="Published data set: E2E's zip, a release of WebNLG or DART, or files or hub id of DialogSum or XSUM."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option(
            help=f"Base: a folder or hub id. Default: {_BASE}; for table3 and inputlength {_ENCODER_DECODER}."
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Hyperparameters: `paper`, from its appendix, or `small`, for a base of a few million parameters."
        ),
    ] = "paper",
    seeds: Annotated[str, typer.Option(help="Training seeds, separated by commas.")] = "0,1",
    samples: Annotated[int, typer.Option(help="lowdata: training samples of each size.")] = 5,
    sizes: Annotated[str | None, typer.Option(help="lowdata: sizes, such as 50,100,200,500.")] = None,
    lengths: Annotated[
        str | None, typer.Option(help="length and infix: numbers of slots, such as 1,2,5,10,20,40.")
    ] = None,
    budget: Annotated[
        str, typer.Option(help="`paper`: the epochs of the preset; a number: at most this many optimizer steps a run.")
    ] = "paper",
    inputs: Annotated[
        int | None, typer.Option(help="Score this many test inputs, evenly spaced. Default: all.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Only these rows of the table, such as full,prefix. Default: all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables, figures and results. Default: out/reproduction.")
    ] = None,
) -> None:
    """Run an experiment of Li & Liang 2021; the table has measured and published scores, intervals, time and memory.

    Writes OUT/EXPERIMENT.md, .csv, .json and .png, and a JSON file for every result. After Ctrl-C or a kill the same
    command continues; existing results are not measured again. See docs/reproduction.md.
    """
    from cli.messages import show_progress
    from cli.output import print_line, print_note
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
    except KeyboardInterrupt as stop:
        cause, code = describe_stop(stop)
        line = f"stopped by {cause}; finished results are in {folder}, and the same command continues from them."
        print_note(line)
        raise typer.Exit(code) from None
    for file in files:
        print_line(str(file))
