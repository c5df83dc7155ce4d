"""The command `fine-tune`, which the server starts for each job of its fine-tuning API."""

from typing import Annotated

import typer


def fine_tune(ctx: typer.Context, job: Annotated[str, typer.Argument(help="Id of the job, ftjob-...")]) -> None:
    """Run a job of the server's fine-tuning API to its end. The server starts this command; it needs no person.

    Takes the job's files as a drop, retrains the tenant, and records the result. Waits while another run works in this
    workspace.
    """
    from cli.messages import show_progress
    from flows.fine_tuning import run_job

    with show_progress():
        run_job(ctx.obj, job)
