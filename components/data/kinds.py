"""Whether a tenant's split files hold conversations. Reads bytes; checks no line."""

from pathlib import Path

from components.data.schema import SPLITS

CONVERSATIONS, PAIRS = "conversations", "pairs"
_KEY = b'"messages"'
"""Within a text, the quotes are escaped."""


def describe_kind(folder: Path) -> str:
    """Return CONVERSATIONS if a split file in a tenant's folder has at least one, else PAIRS."""
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        if path.is_file() and _KEY in path.read_bytes():
            return CONVERSATIONS
    return PAIRS
