"""Sends the messages that are due, as a task at the end of flows; secrets may be in Prefect's blocks."""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import task
from prefect.cache_policies import NO_CACHE

from components.stages.workspace import Workspace
from flows.secret_blocks import send_due_messages


@task(cache_policy=NO_CACHE)
def send_messages(workspace: Workspace) -> None:
    """Send what is due to channels and webhooks. A receiver that is down is tried again by later flows."""
    send_due_messages(workspace)


@contextmanager
def tell_at_end(workspace: Workspace) -> Iterator[None]:
    """Send what is due when the block ends, also by an error; not if a signal stops the process."""
    try:
        yield
    except Exception:
        send_messages(workspace)
        raise
    send_messages(workspace)
