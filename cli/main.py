"""`prefixfleet`: the command line. Thin doors on the flows and the stages.

Exit codes: 0 done, 1 `data check` found what would be refused, 2 a problem that the message tells how to solve (of one
tenant also: the others' results stand), 130 stopped by Ctrl-C.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import data, generate, keys, peft_exchange, reproduce, rollout, runs, score, serve, status, tune
from components.errors import PrefixFleetError
from flows.environment import prepare_environment

_HELP = """
Train, gate, register and serve one prefix per tenant on one frozen language model.

A tenant's data arrive as drops (`data import`), become a dataset version, and every tenant whose data, parameters or
base changed gets a new prefix (`retrain`). What passes the gate is registered in MLflow and becomes champion: at once
or, by the tenant's policy, after a trial (`rollout`). `status` shows where everybody stands, `history` how it came
there; `promote`, `rollback`, `pause` and `pin` move it by hand, and `generate` asks the champion for text. `forget`
removes a tenant for good.

`score` puts any outputs beside a benchmark's published tables.

`serve` answers for all tenants over HTTP, by OpenAI's completions protocol; `keys` says who may ask.

`tune` searches the values that a tenant's prefix is trained with.

Start with `prefixfleet demo`. All values are in params.yaml. Run from the workspace's top folder, or name it with -C.
"""


class _ErrorHandlingGroup(TyperGroup):
    """Turns what a command raises into a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PrefixFleetError as problem:
            from cli.console import show_error

            show_error(problem)
            raise typer.Exit(2) from None
        except OSError as problem:
            from cli.console import show_error
            from components.storage.atomic_files import DISK_ERRNOS, to_workspace_error

            if problem.errno not in DISK_ERRNOS:
                raise
            place = problem.filename or ctx.params["workspace"].resolve()
            show_error(to_workspace_error(problem, f"to read and write {place}"))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            from cli.interrupted import explain_next_run

            explain_next_run(ctx.params["workspace"])
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_ErrorHandlingGroup,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")
app.command("serve")(serve.serve)
app.command("demo")(runs.demo)
app.command("retrain")(runs.retrain)
app.command("tune")(tune.tune)
app.command("status")(status.status)
app.command("rollout")(rollout.rollout)
app.command("history")(rollout.history)
app.command("promote")(rollout.promote)
app.command("rollback")(rollout.rollback)
app.command("pause")(rollout.pause)
app.command("pin")(rollout.pin)
app.command("forget")(rollout.forget)
app.command("generate")(generate.generate)
app.command("export")(peft_exchange.export)
app.command("import")(peft_exchange.import_)
app.command("stage")(runs.stage)
app.command("score")(score.score)
app.command("reproduce")(reproduce.reproduce)


@app.callback()
def _select_workspace(
    ctx: typer.Context,
    workspace: Annotated[
        Path, typer.Option("-C", "--workspace", envvar="PREFIXFLEET_WORKSPACE", help="Top folder of the workspace.")
    ] = Path(),
) -> None:
    prepare_environment(workspace)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # its lines repeat ours, which the terminal shows
    ctx.obj = workspace


def main() -> None:
    """The console script."""
    app(prog_name="prefixfleet")


if __name__ == "__main__":
    main()
