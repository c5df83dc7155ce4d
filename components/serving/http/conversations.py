"""Conversations as one text, in which they are queued, remembered and logged. Knows no template."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def write_conversation(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return messages and tools as JSON; the same conversation always gives the same text."""
    values: dict[str, Any] = {"messages": list(messages)}
    if tools:
        values["tools"] = list(tools)
    return json.dumps(values, ensure_ascii=False)
