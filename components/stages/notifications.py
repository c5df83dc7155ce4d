"""Announces what happened to Prefect's automations, channels and webhooks, and sends what is due.

To announce is to write rows beside what they tell of, in one transaction; to send is another step, which stops nothing
if it fails. Does not know Prefect.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import Connection

from components.errors import PrefixFleetError
from components.notify.events import FleetEvent, describe_move, describe_stop, make_deliveries
from components.notify.references import ReadBlock
from components.notify.sending import SendingContext, SendResult, send_due
from components.rollout.store.deliveries import add_deliveries, has_due
from components.rollout.store.event_outbox import add_event
from components.rollout.types import LedgerEntry
from components.stages.progress import log_info, log_warning
from components.stages.workspace import Workspace

_FOR_PREFECT = ("rollback", "reject", "drift")
"""Actions in the ledger for which Prefect gets an event."""


def announce(workspace: Workspace, connection: Connection, *entries: LedgerEntry) -> None:
    """Add the events of lines of the ledger, within the transaction that writes the lines."""
    for entry in entries:
        if entry.action in _FOR_PREFECT:
            add_event(connection, entry)
        if event := describe_move(entry):
            add_fleet_events(workspace, connection, event)


def add_fleet_events(workspace: Workspace, connection: Connection, *events: FleetEvent) -> None:
    """Add events for the channels and webhooks of params.yaml that want them."""
    config, now_s = workspace.params.notify, time.time()
    for event in events:
        add_deliveries(connection, make_deliveries(config, event), now_s)


@contextmanager
def announce_stop(workspace: Workspace, run: int, trigger: str) -> Iterator[None]:
    """Announce that a run was stopped, if an error ends the block.

    Only errors of PrefixFleet are told in words: those of other libraries may quote a text.
    """
    try:
        yield
    except Exception as problem:
        why = str(problem) if isinstance(problem, PrefixFleetError) else f"{type(problem).__name__}; see the run's log"
        try:
            with workspace.database.transaction("to record that a run was stopped") as connection:
                add_fleet_events(workspace, connection, describe_stop(run, trigger, why))
        except PrefixFleetError as error:
            log_warning(f"nobody is told that the run was stopped: {error}")
        raise


def send_notifications(workspace: Workspace, read_block: ReadBlock | None) -> SendResult:
    """Send what is due. What fails becomes a warning, and is tried again by the next flow or command that sends."""
    try:
        config = workspace.params.notify
        if not config.targets:
            return SendResult()
        context = SendingContext(root=workspace.root, read_block=read_block)
        result = send_due(workspace.database, config, context)
    except PrefixFleetError as problem:
        log_warning(f"no messages are sent: {problem}")
        return SendResult(problems=[str(problem)])
    for line in result.problems:
        log_warning(f"not told, the next flow tries again: {line}")
    if result.given_up:
        log_warning(f"{result.given_up:,} messages were given up after {config.give_up_hours:g} hours")
    if result.delivered:
        log_info(f"{result.delivered:,} events told to channels and webhooks")
    return result


def has_notifications(workspace: Workspace) -> bool:
    """Return whether a message is due. Raises WorkspaceError."""
    names = [one.name for one in workspace.params.notify.targets]
    return bool(names) and has_due(workspace.database, names, time.time())
