"""The commands `retrain`, `demo`, and `stage`, which `dvc repro` calls."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments import FullCheckOption, TenantsOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flows.retrain_result import RetrainResult


class StageName(StrEnum):
    """The stages of dvc.yaml."""

    base = "base"
    train = "train"
    evaluate = "evaluate"
    gate = "gate"


def retrain(ctx: typer.Context, tenant: TenantsOption = None, full_check: FullCheckOption = False) -> None:
    """Take drops, train and gate every tenant that changed, register the prefixes that pass and make them champions.

    A tenant has changed if its data, its effective parameters or the base are not those of its prefix in out/train. If
    the gate rejects a prefix, the champion stays, and the exit code is 3. Interrupted training is resumed.
    """
    from cli.messages import show_progress
    from components.stages.preflight import check_ready
    from flows.retraining import retrain_local

    with show_progress():
        check_ready(ctx.obj)
        run = retrain_local(ctx.obj, tenant, full_check=full_check)
    print_run(run)
    exit_if_rejected(run)


def demo(ctx: typer.Context) -> None:
    """Run the whole chain on the built-in base and four built-in tenants, and show the results.

    Takes minutes the first time, seconds after that: nothing changed, so nothing is trained.
    """
    from cli.messages import show_progress
    from cli.output import print_line
    from components.stages.commands.demo import choose_demo_tenants, write_builtin_drops
    from components.stages.preflight import check_ready
    from components.stages.workspace import Workspace
    from flows.retraining import retrain_local
    from flows.run_local import run_flow

    with show_progress():
        check_ready(ctx.obj)
        workspace = Workspace(ctx.obj)
        tenants = write_builtin_drops(workspace)
        run_flow("dataset", workspace.root, tenants)
        run = retrain_local(workspace.root, choose_demo_tenants(workspace, tenants))
    print_run(run)
    print_line(_NEXT_COMMANDS.format(uri=workspace.registry.uri))
    exit_if_rejected(run)


def stage(
    ctx: typer.Context,
    name: Annotated[StageName, typer.Argument(help="Stage of dvc.yaml.")],
    full_check: FullCheckOption = False,
) -> None:
    """Run one stage of dvc.yaml on all tenants. `dvc repro` runs the stages in their order.

    Tenants whose results are up to date are skipped. A tenant that fails does not stop the others; the stage then
    exits 2. `gate` also prints every rejection, and exits 0: DVC goes on.
    """
    from importlib import import_module

    from cli.messages import show_progress
    from components.otel.spans import open_root
    from components.stages import base
    from components.stages.last_failures import record_outcomes
    from components.stages.outcome import raise_on_failures
    from components.stages.workspace import Workspace

    workspace = Workspace(ctx.obj, full_check=full_check)
    with show_progress(), workspace.lock():
        if name is StageName.base:
            base.read_base_facts(workspace)
            return
        with open_root(f"stage {name.value}"):
            outcomes = import_module(f"components.stages.{name.value}").run(workspace)
        record_outcomes(workspace, outcomes)
    if name is StageName.gate:
        from components.stages.rejections import find_rejected

        print_rejections(find_rejected(workspace))
    raise_on_failures(outcomes)


def print_run(run: "RetrainResult") -> None:
    """Print a run's table of results and its summary."""
    from cli.output import print_line, print_table
    from components.stages.reports.results_table import make_table as results_table

    shown = {*run.choose_shown([row.tenant for row in run.rows])}
    if rows := [row for row in run.rows if row.tenant in shown]:
        print_table("Results", *results_table(rows))
    print_line(run.sentence)
    print_rejections(run.rejected)
    for tenant, why in sorted(run.refused.items())[:_REJECTIONS_SHOWN]:
        print_line(f"not trained: {tenant}: {why}")


def print_rejections(reasons: "Mapping[str, str]") -> None:
    """Print why the gate rejected prefixes, one line a tenant; of many the first ones."""
    from cli.output import print_line

    for tenant, why in sorted(reasons.items())[:_REJECTIONS_SHOWN]:
        print_line(f"rejected: {tenant}: {why}")
    if len(reasons) > _REJECTIONS_SHOWN:
        more = len(reasons) - _REJECTIONS_SHOWN
        print_line(f"and {more:,} more; `prefixfleet status --only refused` shows all")
    if reasons:
        print_line(_REJECTED)


def exit_if_rejected(run: "RetrainResult") -> None:
    """Raise on failures (exit code 2); else exit with code 3 if the gate rejected a prefix."""
    from components.stages.outcome import raise_on_failures

    raise_on_failures(run.outcomes)
    if run.rejected:
        raise typer.Exit(REJECTED_STATUS)


REJECTED_STATUS = 3
"""Exit code of a run in which the gate rejected a prefix and no tenant failed."""
_REJECTIONS_SHOWN = 20
_REJECTED = (
    "A rejected prefix gets no version, and the tenant's champion, if it has one, stays. "
    'See "If the gate rejects" in docs/tenants.md.'
)
_NEXT_COMMANDS = """
Look further:
  prefixfleet status                        every tenant's data, champion and last verdict
  prefixfleet generate TENANT "TEXT"        text from a tenant's champion
  prefixfleet serve                         all champions over OpenAI's protocol: http://127.0.0.1:8000/docs
  out/pictures/charts.html                  curves and scores; needs no network
  dvc metrics show; dvc plots show          scores in DVC; interactive charts, whose page needs a network
  mlflow server --backend-store-uri {uri}
                                            runs, versions and aliases: http://127.0.0.1:5000
  PREFECT_HOME=var/prefect PREFECT_UI_API_URL=http://127.0.0.1:4200/api prefect server start --port 4200
                                            the flows' runs and artifacts: http://127.0.0.1:4200
                                            (for another port, change all three)
"""
