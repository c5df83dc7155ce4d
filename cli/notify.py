"""The commands `notify list`, `notify test` and `notify send`: messages to people and programs."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from components.config.notify import ChannelConfig, NotifyConfig, WebhookConfig

app = typer.Typer(
    help="Channels and webhooks of the section `notify`: list them, try them, send what is due.", no_args_is_help=True
)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """Show every channel and webhook: what it is told, what waits, what was given up, and why.

    Counts are of the last 30 days, apart from what waits.
    """
    from cli.output import print_line, print_table
    from components.config.notify import ChannelConfig
    from components.rollout.store.deliveries import TargetCounts, count_deliveries
    from components.stages.workspace import Workspace

    workspace = Workspace(ctx.obj)
    config, counts = workspace.params.notify, count_deliveries(workspace.database)
    known = {one.name: one for one in config.targets}
    rows = []
    for name in [*known, *sorted(counts.keys() - known)]:
        one, count = known.get(name), counts.get(name, TargetCounts())
        kind = "removed" if one is None else "channel" if isinstance(one, ChannelConfig) else "webhook"
        events = "-" if one is None else ", ".join(one.events) if one.events else "everything"
        numbers = [f"{number:,}" for number in (count.waiting, count.delivered, count.given_up)]
        rows.append([name, kind, events, *numbers, count.problem or "-"])
    if not rows:
        print_line("params.yaml has no channels and no webhooks; docs/notifications.md shows some")
        return
    columns = ("name", "kind", "events", "waiting", "delivered", "given up", "last problem")
    print_table("Channels and webhooks", columns, rows)


@app.command("test")
def try_targets(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A channel or webhook. Default: all.")] = None,
) -> None:
    """Send a test message now. Exits 2 if a secret is missing or wrong, or a receiver does not take the message."""
    from cli.output import print_line
    from components.errors import ConfigError, PrefixFleetError
    from components.notify.sending import SendingContext, send_test
    from components.stages.workspace import Workspace
    from flows.secret_blocks import read_secret_block

    workspace = Workspace(ctx.obj)
    config = workspace.params.notify
    context = SendingContext(root=workspace.root, read_block=read_secret_block)
    targets, failing = _choose(config, name), []
    for target in targets:
        try:
            problem = send_test(config, target, context)
        except PrefixFleetError as error:
            if len(targets) == 1:
                raise
            problem = str(error)
        print_line(f"{target.name}: {problem or 'taken'}")
        if problem:
            failing.append(target.name)
    if failing:
        got = f"none from {', '.join(failing)}, for the reasons above"
        raise ConfigError("an answer that the message is taken", got, "check each receiver, its address and its secret")


@app.command()
def send(ctx: typer.Context) -> None:
    """Send what is due now, as every flow does at its end. For cron, where no flow runs often enough.

    A receiver that does not take a message gets it again, until `notify.give_up_hours`.
    """
    from cli.messages import show_progress
    from cli.output import print_line
    from components.stages.workspace import Workspace
    from flows.secret_blocks import send_due_messages

    with show_progress():
        result = send_due_messages(Workspace(ctx.obj))
    print_line(f"{result.delivered:,} delivered, {len(result.problems):,} failed, {result.given_up:,} given up")


def _choose(config: "NotifyConfig", name: str | None) -> "list[ChannelConfig | WebhookConfig]":
    from components.errors import ConfigError

    chosen = [one for one in config.targets if name in (None, one.name)]
    if not chosen:
        known = ", ".join(one.name for one in config.targets) or "no channel and no webhook"
        wanted = f"a channel or webhook {name}" if name else "a channel or webhook in the section notify of params.yaml"
        raise ConfigError(wanted, known, "correct the name" if name and config.targets else "see docs/notifications.md")
    return chosen
