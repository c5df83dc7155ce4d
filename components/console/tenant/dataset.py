"""A tenant's data: its splits, its quarantine, and what changed between two dataset versions.

Knows the workspace's files and DVC's objects; knows no page.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.data.dvc_objects import read_tenant_files
from components.data.intake import QUARANTINE_FOLDER
from components.data.schema import SPLITS
from components.stages.splits import get_split_path
from components.stages.workspace import Workspace
from components.storage.json_text import parse_json

_EXAMPLES = 3
_CHANGES = 20
_MAX_CHARS = 600


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """One split as it is in data/."""

    name: str
    count: int
    examples: Sequence[str]
    """The first lines, as readable JSON."""


@dataclass(frozen=True, slots=True)
class RejectedGroup:
    """Lines in quarantine with the same reason."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitChange:
    """What changed in one split between two dataset versions."""

    name: str
    added: int
    removed: int
    added_lines: Sequence[str]
    """The first of the added lines, at most _CHANGES."""
    removed_lines: Sequence[str]
    """Likewise."""


def read_split_facts(workspace: Workspace, tenant: str) -> list[SplitFacts]:
    """Return the splits in data/, without those that are missing."""
    paths = {split: get_split_path(workspace, tenant, split) for split in SPLITS}
    lines = {split: path.read_bytes().splitlines() for split, path in paths.items() if path.is_file()}
    return [SplitFacts(split, len(own), list(map(format_line, own[:_EXAMPLES]))) for split, own in lines.items()]


def read_quarantine(workspace: Workspace, tenant: str) -> list[RejectedGroup]:
    """Return the rejected lines of a tenant's drops by reason, the most frequent first."""
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for path in sorted((workspace.root / QUARANTINE_FOLDER / tenant).glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            reject = json.loads(line)
            reasons[reject["reason"]] += 1
            examples.setdefault(reject["reason"], f"{reject['file']}:{reject['line']}: {reject['text']}"[:_MAX_CHARS])
    return [RejectedGroup(reason, count, examples[reason]) for reason, count in reasons.most_common()]


def compare_dataset_versions(workspace: Workspace, tenant: str, old: str, new: str) -> list[SplitChange]:
    """Return what changed in each split from version `old` to `new`, without splits that did not change.

    Raises:
        WorkspaceError: DVC's cache and remotes do not have a version.
    """
    before, after = (read_tenant_files(workspace.root, version, tenant) for version in (old, new))
    changes = []
    for split in SPLITS:
        name = f"{split}.jsonl"
        was, now = (Counter(files.get(name, b"").splitlines()) for files in (before, after))
        added, removed = list((now - was).elements()), list((was - now).elements())
        if added or removed:
            changes.append(
                SplitChange(
                    name=split,
                    added=len(added),
                    removed=len(removed),
                    added_lines=list(map(format_line, added[:_CHANGES])),
                    removed_lines=list(map(format_line, removed[:_CHANGES])),
                )
            )
    return changes


def format_line(line: bytes) -> str:
    """Return a line of data for people: JSON with its characters, cut."""
    try:
        value: Any = json.dumps(parse_json(line), ensure_ascii=False)
    except ValueError:
        value = line.decode("utf-8", "backslashreplace")
    return value if len(value) <= _MAX_CHARS else f"{value[:_MAX_CHARS]}…"
