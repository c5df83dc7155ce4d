"""Commands that run the chain: the demo, a retraining, and single stages for `dvc repro`."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments import FullCheckOption, TenantsOption

if TYPE_CHECKING:
    from flows.retrain import RetrainResult


class StageName(StrEnum):
    """The stages of dvc.yaml."""

    base = "base"
    train = "train"
    evaluate = "evaluate"
    gate = "gate"


def retrain(ctx: typer.Context, tenant: TenantsOption = None, full_check: FullCheckOption = False) -> None:
    """Take drops in, train and gate every tenant that needs it, register what passes and make it champion.

    A tenant needs it when its data, its effective parameters or the base changed since its prefix in out/train was
    trained. A prefix that fails the gate leaves the champion as it is. Interrupted training is resumed.
    """
    from cli.console import show_progress
    from components.stages.outcome import raise_on_failures
    from flows.run_local import run_flow as run_flow

    with show_progress():
        run = run_flow("retrain", ctx.obj, tenant, full_check=full_check)
    print_run(run)
    raise_on_failures(run.outcomes)


def demo(ctx: typer.Context) -> None:
    """Run the whole chain on the built-in base and four built-in tenants, and show what came out.

    Takes minutes the first time; a second demo finds that nothing changed, trains nothing and takes seconds.
    """
    from cli.console import make_stdout, show_progress
    from components.stages.commands.demo import choose_demo_tenants, write_builtin_drops
    from components.stages.outcome import raise_on_failures
    from components.stages.workspace import Workspace
    from flows.run_local import run_flow as run_flow

    place = Workspace(ctx.obj)
    with show_progress():
        tenants = write_builtin_drops(place)
        run_flow("dataset", place.root, tenants)
        run = run_flow("retrain", place.root, choose_demo_tenants(place, tenants))
    print_run(run)
    make_stdout().print(_NEXT_COMMANDS.format(uri=place.registry.uri), markup=False, soft_wrap=True)
    raise_on_failures(run.outcomes)


def stage(
    ctx: typer.Context,
    name: Annotated[StageName, typer.Argument(help="Stage of dvc.yaml.")],
    full_check: FullCheckOption = False,
) -> None:
    """Run one stage of dvc.yaml on all tenants; `dvc repro` calls this in the right order.

    Tenants whose results stand are skipped. One that fails does not stop the others, but the stage then fails.
    """
    from importlib import import_module

    from cli.console import show_progress
    from components.stages import base
    from components.stages.outcome import raise_on_failures
    from components.stages.workspace import Workspace

    place = Workspace(ctx.obj, full_check=full_check)
    with show_progress(), place.lock():
        if name is StageName.base:
            base.read_base_facts(place)
        else:
            raise_on_failures(import_module(f"components.stages.{name.value}").run(place))


def print_run(run: "RetrainResult") -> None:
    """Print a run's table and sentence."""
    from cli.console import make_stdout, print_table
    from components.stages.reports.results_table import make_table as results_table

    if run.rows:
        print_table("Results", *results_table(run.rows))
    make_stdout().print(run.sentence, markup=False, soft_wrap=True)
    if any(row.verdict == "rejected" for row in run.rows):
        make_stdout().print(_REJECTED, markup=False, soft_wrap=True)


_REJECTED = (
    "A rejected prefix gets no version, and the tenant's champion stays. `prefixfleet status` shows which check failed; "
    'see "If the gate rejects" in README.md.'
)
_NEXT_COMMANDS = """
Look further:
  prefixfleet status                        every tenant's data, champion and last verdict
  prefixfleet generate TENANT "TEXT"        text from a champion
  prefixfleet serve                         all champions by OpenAI's protocol: http://127.0.0.1:8000/docs
  dvc metrics show; dvc plots show          scores and curves, as DVC sees them
  out/pictures/loss.png, bleu.png           the same as pictures
  mlflow server --backend-store-uri {uri}
                                            runs, versions and aliases: http://127.0.0.1:5000
  PREFECT_HOME=var/prefect prefect server start
                                            the flows' runs and artifacts: http://127.0.0.1:4200
"""
