"""`prefixfleet`: the command line. Thin commands over the flows and the stages.

Exit codes: 0 done; 1 `data check` found lines or drops that would be rejected, or `upgrade` found differences; 2 an
error whose message says how to solve it (also if one tenant failed and the others are done); 3 the gate rejected a
prefix, and no tenant failed; 130, 143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP; 141 the reader of the output closed
the pipe.
"""

import gc
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import (
    backup,
    base,
    console,
    data,
    fine_tune,
    generate,
    keys,
    metrics,
    migrate,
    notify,
    peft_exchange,
    plan,
    prune,
    report,
    reproduce,
    rollout,
    runs,
    score,
    serve,
    status,
    tune,
    usage,
    watch,
    worker,
    workspaces,
)
from cli.output import BROKEN_PIPE_STATUS, discard_output, prepare_streams, print_line
from cli.ranks import check_command, run_in_rank_0
from cli.stop_signals import StoppedBySignal, describe_stop, raise_on_stop_signals
from components.errors import PrefixFleetError
from components.logs import check_log_format, wants_json, write_json_logs
from components.otel.switch import check_otel
from flows.environment import prepare_environment

_HELP = """
Train, gate, register and serve one prefix per tenant on one frozen language model.

New data of a tenant are a drop. `data import` or `data take` makes a dataset version of it; `retrain` trains a new
prefix for every tenant whose data, parameters or base changed. A prefix that passes the gate is registered in MLflow
and becomes champion: at once or, if the tenant's policy says so, after a trial (`rollout`). `status` shows every
tenant's champion, `history` its moves, `corrections` what callers corrected. `promote`, `rollback`, `pause` and `pin`
move versions by hand; `adopt` takes a tenant over from another workspace with the same MLflow. `generate` writes text
with the champion. `forget` removes a tenant and everything of it, `prune` only old versions and runs.

`watch` retrains the tenants whose data arrived in a watched folder or bucket; `causes` lists what started retrainings.

`migrate` moves the fleet to another base, tenant by tenant.

`base check` says what works on a base and what it takes, before any tenant is trained; `base convert` converts weights.

`tune` searches the values that a tenant's prefix is trained with.

`serve` answers for all tenants over HTTP, with OpenAI's completions protocol; `keys` manages the server's API keys. It
starts `fine-tune` for each job of its fine-tuning API.

`plan` shows what the next `retrain` would train and what it takes; `usage` what each tenant used, and its cost.

`console` shows the fleet in a browser; `metrics` prints what flows did, for Prometheus. `report` writes a night as one
HTML file; `notify` tries and lists the channels and webhooks that are told what happens.

`worker start` trains shards on this machine, for parents whose params.yaml has a section `workers`.

`score` computes a benchmark's official metrics for the outputs of any system.

`backup` copies everything of the fleet to a folder or object storage; `restore` makes a workspace of such a copy.

`init` makes a workspace; `upgrade` shows what a new one would have different after an update.

Start with `prefixfleet demo`. All values are in params.yaml. Run from the workspace's top folder, or name it with -C.
"""


class _ErrorHandlingGroup(TyperGroup):
    """Turns the errors that a command raises into a message and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        prepare_streams()
        try:
            return super().main(*args, **kwargs)
        except SystemExit as end:  # Typer ends with 130 for every KeyboardInterrupt before a command
            cause = getattr(end.__context__, "__cause__", None)
            if isinstance(cause, StoppedBySignal):
                raise SystemExit(describe_stop(cause)[1]) from None
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PrefixFleetError as problem:
            from cli.messages import show_error

            show_error(problem)
            raise typer.Exit(2) from None
        except BrokenPipeError:
            discard_output()
            raise typer.Exit(BROKEN_PIPE_STATUS) from None
        except OSError as problem:
            from cli.messages import show_error
            from components.storage.atomic_files import DISK_ERRNOS, to_workspace_error

            if problem.errno not in DISK_ERRNOS:
                raise
            path = problem.filename or ctx.params["workspace"].resolve()
            show_error(to_workspace_error(problem, f"to read and write {path}"))
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            from cli.interrupted import explain_stop

            cause, code = describe_stop(stop)
            explain_stop(ctx.params["workspace"], ctx.invoked_subcommand, cause)
            raise typer.Exit(code) from None


app = typer.Typer(
    cls=_ErrorHandlingGroup,
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.add_typer(base.app, name="base")
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")
app.add_typer(notify.app, name="notify")
app.add_typer(worker.app, name="worker")
app.command("serve")(serve.serve)
app.command("console")(console.console)
app.command("init")(workspaces.init)
app.command("upgrade")(workspaces.upgrade)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("demo")(runs.demo)
app.command("retrain")(runs.retrain)
app.command("plan")(plan.plan)
app.command("watch")(watch.watch)
app.command("causes")(watch.causes)
app.command("fine-tune")(fine_tune.fine_tune)
app.command("migrate")(migrate.migrate)
app.command("tune")(tune.tune)
app.command("status")(status.status)
app.command("metrics")(metrics.metrics)
app.command("report")(report.report)
app.command("usage")(usage.usage)
app.command("rollout")(rollout.rollout)
app.command("history")(rollout.history)
app.command("corrections")(rollout.corrections)
app.command("promote")(rollout.promote)
app.command("rollback")(rollout.rollback)
app.command("pause")(rollout.pause)
app.command("pin")(rollout.pin)
app.command("adopt")(rollout.adopt)
app.command("prune")(prune.prune)
app.command("forget")(rollout.forget)
app.command("generate")(generate.generate)
app.command("export")(peft_exchange.export)
app.command("import")(peft_exchange.import_)
app.command("stage")(runs.stage)
app.command("score")(score.score)
app.command("reproduce")(reproduce.reproduce)


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print_line(f"prefixfleet {version('prefixfleet')}")
        raise typer.Exit


@app.callback()
def _select_workspace(
    ctx: typer.Context,
    workspace: Annotated[
        Path, typer.Option("-C", "--workspace", envvar="PREFIXFLEET_WORKSPACE", help="Top folder of the workspace.")
    ] = Path(),
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    check_command(ctx.invoked_subcommand)
    check_log_format()
    check_otel()
    if wants_json():
        write_json_logs()
    prepare_environment(workspace)
    if ctx.invoked_subcommand != "worker":  # elsewhere Prefect's lines repeat ours, which the terminal shows already
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    ctx.obj = workspace


def main() -> None:
    """The console script."""
    raise_on_stop_signals()
    try:
        run_in_rank_0(lambda: app(prog_name="prefixfleet"))
    finally:
        gc.freeze()  # or the end of the process looks through all that was imported, which takes up to a second


if __name__ == "__main__":
    main()
