"""Messages for people: one title and one text for all events that a channel has not been told. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from components.notify.events import NIGHT_ENDED, NIGHT_STOPPED, TENANT_FAILED, TEST
from components.rollout.store.deliveries import Delivery

_MAX_LINES = 40
_MAX_LISTED = 15
_MAX_WHY = 240
_CALLS = re.compile(r"@(?=(?:all|channel|everyone|here)\b)|<(?=[!@])")
"""What makes chats call everyone, a group or a person; reasons may quote a tenant's text."""
_VERBS: Mapping[str, str] = {
    "version.challenged": "put on trial",
    "version.advanced": "trial advanced",
    "version.promoted": "promoted",
    "version.rolled_back": "rolled back",
    "version.withdrawn": "withdrawn",
    "version.refused": "refused by the gate",
    "trial.paused": "trial paused",
    "trial.resumed": "trial resumed",
    "champion.pinned": "pinned",
    "champion.unpinned": "no longer pinned",
    "tenant.adopted": "taken over from another workspace",
    "tenant.drifted": "its requests have drifted",
    TENANT_FAILED: "failed",
}
"""Type of an event on one tenant -> what happened."""


class Message(NamedTuple):
    """A text for a mail or a chat; plain, no markup."""

    title: str
    body: str


def write_message(fleet: str, deliveries: Sequence[Delivery]) -> Message:
    """Return one message on all these events, which are in order of time; nights first."""
    events = [json.loads(one.payload) for one in deliveries]
    nights = [one for one in events if one["type"] in (NIGHT_ENDED, NIGHT_STOPPED, TEST)]
    others = [one for one in events if one["type"] in _VERBS]
    titles = [_title_night(one) for one in nights] + _title_others(others)
    parts = [_describe_night(one) for one in nights]
    if others:
        lines = [_describe_tenant(one) for one in others[:_MAX_LINES]]
        if len(others) > _MAX_LINES:
            lines.append(f"and {len(others) - _MAX_LINES:,} more; see `prefixfleet history`")
        parts.append("\n".join(lines))
    title = f"[{fleet}] {'; '.join(titles[:3])}{', ...' if len(titles) > 3 else ''}"
    return Message(title, _CALLS.sub("\\g<0>\u200b", "\n\n".join(parts)))


def _title_night(event: Mapping[str, Any]) -> str:
    data = event["data"]
    if event["type"] == TEST:
        return "test message"
    if event["type"] == NIGHT_STOPPED:
        return f"run {data['run']} was stopped by an error"
    counts = data["tenants"]
    parts = [f"{counts[name]:,} {name}" for name in ("failed", "rejected", "skipped") if counts[name]]
    parts += [f"{counts[name]:,} {name}" for name in ("promoted", "accepted") if counts[name]]
    return f"run {data['run']}: {', '.join(parts) or 'nothing to do'}"


def _title_others(events: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(events) == 1:
        return [f"{events[0]['data']['tenant']}: {_VERBS[events[0]['type']]}"]
    verbs = [_VERBS[one["type"]] for one in events]
    return [f"{verbs.count(verb):,} {verb}" for verb in dict.fromkeys(verbs)]


def _describe_night(event: Mapping[str, Any]) -> str:
    data = event["data"]
    if event["type"] == TEST:
        return f"This is a test message of PrefixFleet, sent at {event['timestamp']}. Nothing happened."
    if event["type"] == NIGHT_STOPPED:
        return f"Run {data['run']} ({data['trigger']}) was stopped by an error: {_shorten(data['why'])}"
    counts = data["tenants"]
    lines = [
        f"Run {data['run']}, started by {data['trigger']} ({data['by']}), {data['began_at']} to {data['ended_at']}",
        ", ".join(f"{number:,} {name}" for name, number in counts.items()),
        f"device time: {data['device_seconds']:,.0f} s; dataset version {data['dataset_version'][:12]}",
    ]
    if waiting := data["needs_person"]:
        lines += ["", "Needs a person:"]
        lines += [f"- {one['tenant']}: {one['result']}: {_shorten(one['why'])}" for one in waiting[:_MAX_LISTED]]
        more = data["needs_person_count"] - min(len(waiting), _MAX_LISTED)
        lines += [f"- and {more:,} more"] if more else []
    if data["report"]:
        lines += ["", f"Report: {data['report']}"]
    return "\n".join(lines)


def _describe_tenant(event: Mapping[str, Any]) -> str:
    data = event["data"]
    version = f" version {data['to_version']}" if data.get("to_version") else ""
    if event["type"] == "version.rolled_back":
        version = f" version {data['from_version']}, champion is {data['to_version'] or 'none'}"
    by = f", by {data['by']}" if data.get("by") else ""
    return f"- {data['tenant']}: {_VERBS[event['type']]}{version}{by}: {_shorten(data['why'])}"


def _shorten(text: str) -> str:
    """Return a text as one line without control characters."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= _MAX_WHY else f"{line[: _MAX_WHY - 3]}..."
