"""The commands `watch`, which looks once for causes of a retraining, and `causes`, which lists them."""

from typing import Annotated

import typer


def watch(ctx: typer.Context) -> None:
    """Look once for what should start a retraining (params.yaml: triggers), and retrain the tenants that have a cause.

    Takes deliveries that have arrived in the watched folder or bucket once they are complete. A cause starts one
    retraining; one that is stopped begins again at a later look. The deployment `watch` does the same every minute.
    """
    from cli.messages import show_progress
    from cli.output import print_line
    from cli.runs import exit_if_rejected, print_run
    from components.stages.preflight import check_ready
    from flows.retraining import watch_local

    with show_progress():
        check_ready(ctx.obj)
        look, run = watch_local(ctx.obj)
    print_line(look.sentence)
    if run is not None:
        print_run(run)
        exit_if_rejected(run)


def causes(
    ctx: typer.Context,
    last: Annotated[int, typer.Option(min=1, help="Show this many, the newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print each cause as one line of JSON.")] = False,
) -> None:
    """Show what started retrainings: deliveries of data, drift, jobs of the fine-tuning API, another base.

    Each with when, for which tenant, and how its run ended.
    """
    from dataclasses import asdict

    from cli.output import print_json, print_line, print_table
    from components.rollout.store.cause_list import list_causes
    from components.stages.workspace import Workspace

    found = list_causes(Workspace(ctx.obj).database, last)
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    if not found:
        print_line("no cause yet; params.yaml: triggers says what to look for, and `prefixfleet watch` looks")
        return
    rows = [
        [f"{one.opened_at[:19]}Z", one.tenant, one.kind, one.why, one.result or f"open, {one.tries} tries"]
        for one in found
    ]
    print_table("Causes of retrainings", ["when (UTC)", "tenant", "kind", "why", "result"], rows)
