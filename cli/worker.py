"""The commands `worker start`, `check` and `version`, for machines that train shards. They need no workspace."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train shards of fleets on this machine.", no_args_is_help=True)

PoolOption = Annotated[str, typer.Option("--pool", help="Prefect work pool.")]


@app.command()
def start(
    pool: PoolOption = "gpu",
    devices: Annotated[
        str, typer.Option("--devices", help="GPUs by number such as 0,1; all; or none: one worker on the CPU.")
    ] = "all",
    home: Annotated[
        Path | None, typer.Option("--home", help="Folder for bases and work. Default: ~/.cache/prefixfleet/worker.")
    ] = None,
    idle_minutes: Annotated[
        float | None, typer.Option("--idle-minutes", min=0, help="End after this time without a shard. Default: never.")
    ] = None,
) -> None:
    """Take shards from a work pool and train them, one a device at a time, until a signal ends it.

    Needs PREFECT_API_URL, and credentials for the exchange, MLflow and the DVC remote in the environment. Takes only
    shards of parents with the same code. SIGTERM ends it within seconds: what it trains is saved, and another worker
    goes on from there.
    """
    from cli.messages import show_progress
    from flows.worker_process import choose_devices, find_home, run_workers

    with show_progress():
        run_workers(pool, choose_devices(devices), find_home(home), idle_minutes)


@app.command()
def version() -> None:
    """Print the code version. Parent and workers must have the same; workers poll the queue `code-<version>`."""
    from cli.output import print_line
    from components.stages.sharding.code_version import read_code_version

    print_line(read_code_version())


@app.command()
def check(
    ctx: typer.Context,
    pool: PoolOption = "gpu",
    exchange: Annotated[
        str | None, typer.Option("--exchange", help="URL of the exchange. Default: workers.exchange in params.yaml.")
    ] = None,
) -> None:
    """Check whether this machine reaches Prefect, the exchange, MLflow and the DVC remote; print its code version.

    Exit code 2 if something is not reachable.
    """
    from cli.output import print_line
    from components.config import PARAMS_FILE, load_workspace_params
    from components.stages.sharding.code_version import read_code_version
    from flows.worker_check import check_worker

    in_workspace = (ctx.obj / PARAMS_FILE).is_file()
    params = load_workspace_params(ctx.obj) if in_workspace else None
    configured = params.workers.exchange if params and params.workers else None
    registry = params.registry if params else None
    print_line(f"code version: {read_code_version()}")
    parts = check_worker(ctx.obj, pool, exchange or configured, registry, in_workspace=in_workspace)
    for part in parts:
        print_line(f"{part.name}: {part.detail if part.is_usable is not False else f'NOT USABLE: {part.detail}'}")
    if any(part.is_usable is False for part in parts):
        raise typer.Exit(2)
