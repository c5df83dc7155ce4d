"""Sends what is due to channels and webhooks, and records what came of it. A receiver that is down stops nothing.

A channel gets one message for all that it was not told; a webhook gets each event by itself. After a failure a delivery
is tried again after ever longer pauses, until `notify.give_up_hours`. Knows no flow.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.access.signed_post import compute_pause_s, parse_signing_key, post_signed
from components.config.notify import ChannelConfig, NotifyConfig, WebhookConfig
from components.errors import PrefixFleetError
from components.notify.channels import open_channel, send_message
from components.notify.events import TEST, FleetEvent, format_now, make_deliveries
from components.notify.messages import write_message
from components.notify.references import ReadBlock, read_reference
from components.rollout.store.deliveries import (
    Delivery,
    claim_due,
    delay,
    give_up_before,
    mark_delivered,
)
from components.storage.database import Database

_TARGET_S = 60.0
"""How long one call sends to one target; what is left is for the next call."""
_EVENTS_PER_MESSAGE = 1000


@dataclass(frozen=True, kw_only=True)
class SendingContext:
    """Where secrets are read, and the clocks."""

    root: Path
    """Of the workspace, for `file:`."""
    read_block: ReadBlock | None
    """None: this process cannot read Prefect's blocks, so targets whose secret is there are left to others."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    now_s: Callable[[], float] = time.time
    """Seconds since 1970."""
    timer: Callable[[], float] = time.monotonic


@dataclass
class SendResult:
    """What a call did."""

    delivered: int = 0
    problems: list[str] = field(default_factory=list)
    """For each target that failed, its name and why."""
    given_up: int = 0


def send_due(database: Database, config: NotifyConfig, context: SendingContext) -> SendResult:
    """Send what is due to every target of `config`. Raises WorkspaceError: the database does not answer."""
    result, now_s = SendResult(), context.now_s()
    given_up = give_up_before(database, now_s - 3600 * config.give_up_hours, now_s)
    result.given_up = len(given_up)
    for target in config.targets:
        if context.read_block is None and _get_reference(target).startswith("block:"):
            continue
        end = context.timer() + _TARGET_S
        size = 1 if isinstance(target, WebhookConfig) else _EVENTS_PER_MESSAGE
        problem, stops = "", False
        while not stops and context.timer() < end:
            claimed = claim_due(database, target.name, size, context.now_s())
            if not claimed:
                break
            problem, stops = _try_to_send(config, target, claimed, context)
            if problem:
                pause_s = compute_pause_s(max(one.tries for one in claimed))
                delay(database, claimed, context.now_s() + pause_s, problem)
                result.problems.append(f"{target.name}: {problem}")
            else:
                mark_delivered(database, claimed)
                result.delivered += len(claimed)
    return result


def check_target(config: ChannelConfig | WebhookConfig, context: SendingContext) -> None:
    """Raise ConfigError unless a target's secret can be read and has the right form."""
    secret, where = _read_secret(config, context)
    if isinstance(config, WebhookConfig):
        _parse_keys(secret, where)
    else:
        open_channel(secret, where)


def send_test(config: NotifyConfig, target: ChannelConfig | WebhookConfig, context: SendingContext) -> str:
    """Send a test message to one target; return why it was not taken; "": it was. Raises ConfigError."""
    event = FleetEvent(type=TEST, at=format_now(), data={})
    everything = target.model_copy(update={"events": None, "only_if_needed": False})
    (new,) = make_deliveries(config.model_copy(update={"channels": [], "webhooks": [everything]}), event)
    values = {name: getattr(new, name) for name in type(new).__slots__}
    delivery = Delivery(**values, id=0, created_s=0, next_try_s=0, tries=1, problem="", state="waiting")
    return _send(config, target, [delivery], context)


def _try_to_send(
    config: NotifyConfig, target: ChannelConfig | WebhookConfig, claimed: Sequence[Delivery], context: SendingContext
) -> tuple[str, bool]:
    """Return why the target did not take the deliveries ("": it did), and whether to try no other one now."""
    try:
        problem = _send(config, target, claimed, context)
    except PrefixFleetError as error:
        return str(error), True
    is_of_event = problem.startswith("status 4") and problem != "status 429"  # others may be accepted
    return problem, bool(problem) and not is_of_event


def _send(
    config: NotifyConfig, target: ChannelConfig | WebhookConfig, claimed: Sequence[Delivery], context: SendingContext
) -> str:
    secret, where = _read_secret(target, context)
    if isinstance(target, WebhookConfig):
        (one,) = claimed
        keys = _parse_keys(secret, where)
        return post_signed(target.url, keys, one.event, one.payload.encode(), int(context.now_s()))
    message = write_message(config.fleet, claimed)
    return send_message(secret, where, message.title, message.body)


def _read_secret(target: ChannelConfig | WebhookConfig, context: SendingContext) -> tuple[str, str]:
    """Return the secret of a target, and its place in words."""
    is_webhook, reference = isinstance(target, WebhookConfig), _get_reference(target)
    where = f"{'the secret of the webhook' if is_webhook else 'the url of the channel'} {target.name} ({reference})"
    return read_reference(reference, where, context.root, context.environment, context.read_block), where


def _get_reference(target: ChannelConfig | WebhookConfig) -> str:
    return target.secret if isinstance(target, WebhookConfig) else target.url


def _parse_keys(secret: str, where: str) -> list[bytes]:
    return [parse_signing_key(one, where) for one in secret.split()]
