"""Delivers callers' corrections into drops, as examples of the next dataset version.

Corrections may be at most `data.max_corrections` of a tenant's training examples; the others wait for more data.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from components.data.conversations import parse_conversation
from components.data.drops import add_to_drop as add_to_drop
from components.data.kinds import CONVERSATIONS, describe_kind
from components.data.schema import Example, find_problem, format_line, split_numbered_lines
from components.errors import DataError
from components.rollout.store.corrections import (
    DeliveredLine,
    list_tenants_with_corrections,
    mark_delivered,
    read_corrections,
)
from components.rollout.store.feedback import Feedback
from components.stages.progress import log_info, log_warning
from components.stages.rollout.cycle import hold_cycle_lock
from components.stages.workspace import Workspace
from components.storage.atomic_files import convert_disk_errors

FEEDBACK_SLICE = "feedback"
"""Slice of these examples."""

_LOCK_WAIT_S = 60.0


def deliver_corrections(workspace: Workspace) -> dict[str, int]:
    """Add the waiting corrections to their tenants' drops; returns tenant -> number of added corrections.

    One process at a time does this. If it is killed and run again, no correction is added twice. A correction that is
    not a valid example is logged and left out. Beyond `data.max_corrections` corrections wait; the API keys take turns.

    Raises:
        WorkspaceError: the disk is full; the database does not answer; or another delivery or a cycle takes too long.
    """
    with (
        hold_cycle_lock(workspace, wait_s=_LOCK_WAIT_S),
        workspace.database.lock("corrections", wait_s=_LOCK_WAIT_S),
    ):
        tenants = list_tenants_with_corrections(workspace.database)
        added = {tenant: _deliver_tenant(workspace, tenant) for tenant in tenants}
    return {tenant: count for tenant, count in added.items() if count}


def compute_room(share: float, corrections: int, others: int) -> int | None:
    """Return how many corrections may be added beside `others`, so that they are at most `share` of all examples.

    `corrections` are those that are there already. None: any number, as the share is 1.
    """
    return None if share >= 1 else max(0, int(share * others / (1 - share) + 1e-9) - corrections)


def take_turns(waiting: Sequence[tuple[int, Feedback]]) -> list[tuple[int, Feedback]]:
    """Return corrections so that each API key's oldest come first, then each key's second oldest, and so on."""
    turns: Counter[str] = Counter()
    ranked = []
    for number, one in waiting:
        ranked.append((turns[one.key_id], number, one))
        turns[one.key_id] += 1
    return [(number, one) for _, number, one in sorted(ranked, key=lambda each: each[:2])]


def _deliver_tenant(workspace: Workspace, tenant: str) -> int:
    limits = workspace.params.data
    known, corrections = _read_known_lines(workspace, tenant)
    room = compute_room(limits.max_corrections, corrections, len(known) - corrections)
    new: list[Example] = []
    lines: list[DeliveredLine] = []
    waiting = read_corrections(workspace.database, tenant)
    is_chat = bool(waiting) and describe_kind(workspace.data / tenant) == CONVERSATIONS
    for number, one in take_turns(waiting):
        text = one.corrected or ""
        try:
            example = _make_example(one.source or "", text) if is_chat else _make_pair(one.source or "", text)
            reason = find_problem(example, limits)
        except DataError as problem:
            example, reason = _make_pair(one.source or "", text), problem.got
        line = format_line(example).encode("utf-8", "surrogatepass").rstrip()
        if reason:
            log_warning(f"{tenant}: the correction of answer {one.request} is not a valid example: {reason}")
            lines.append((number, text, None))
        elif line in known or room is None or len(new) < room:
            lines.append((number, text, hashlib.sha256(line).hexdigest()))
            if line not in known:  # else an earlier delivery was stopped before it was marked
                known.add(line)
                new.append(example)
    if new:
        add_to_drop(workspace.drops / tenant, new)
        log_info(f"{tenant}: added {len(new)} corrections by callers to its drop")
    if left := len(waiting) - len(lines):
        log_info(
            f"{tenant}: {left} corrections wait, as corrections may be {limits.max_corrections:.0%} of its examples"
        )
    mark_delivered(workspace.database, lines)
    return len(new)


def _make_example(source: str, text: str) -> Example:
    """Return the conversation that the source is, ended by the text; of a source of an earlier pair, the pair.

    Raises:
        DataError: such a conversation cannot be trained on.
    """
    try:
        values = json.loads(source)
        messages = [*values["messages"], {"role": "assistant", "content": text}]
    except (ValueError, LookupError, TypeError):
        return _make_pair(source, text)
    known = [{**one, "role": "system"} if one.get("role") == "developer" else one for one in messages]
    return Example.from_conversation(parse_conversation(known, values.get("tools")), FEEDBACK_SLICE)


def _make_pair(source: str, text: str) -> Example:
    return Example(source, (text,), FEEDBACK_SLICE)


def _read_known_lines(workspace: Workspace, tenant: str) -> tuple[set[bytes], int]:
    """Return the lines of the tenant's training split and of its drop, and how many of them are corrections."""
    lines: set[bytes] = set()
    for folder in (workspace.data, workspace.drops):
        path = folder / tenant / "train.jsonl"
        with convert_disk_errors(f"read {path}"):
            content = path.read_bytes() if path.exists() else b""
        lines |= {line.rstrip() for _, line in split_numbered_lines(content)}
    return lines, sum(map(_is_correction, lines))


def _is_correction(line: bytes) -> bool:
    if FEEDBACK_SLICE.encode() not in line:
        return False
    try:
        example = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(example, dict) and example.get("slice") == FEEDBACK_SLICE
