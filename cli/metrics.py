"""The command `metrics`: what the database records of flows, for Prometheus."""

import typer


def metrics(ctx: typer.Context) -> None:
    """Print the metrics of flows (ends, runs, moves, trials) in Prometheus's text format.

    Flows publish the same at their end if params.yaml names `metrics.textfile` or `metrics.pushgateway`. The server has
    metrics of its own at /metrics.
    """
    from cli.output import print_line
    from components.stages.run_metrics import render_metrics
    from components.stages.workspace import Workspace

    print_line(render_metrics(Workspace(ctx.obj)).rstrip("\n"))
