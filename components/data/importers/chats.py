"""Turns rows with messages into conversations: OpenAI's fine-tuning format, ShareGPT, and tables of these forms.

A row that is no well-formed conversation stays as it is, and the check of the drop rejects it with the reason. Knows no
file format.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.data.conversations import parse_conversation
from components.data.importers.cells import CHAT_COLUMNS, Fields, NumberText, Table
from components.data.schema import Example
from components.errors import DataError

_LOGGER = "prefixfleet"
_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model", "bot", "function_call"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
}


def find_chat_column(columns: Sequence[str], fields: Fields) -> str | None:
    """Return the column with messages: the named one, else `messages` or `conversations` if the table has no pairs.

    Raises:
        DataError: the named column is missing.
    """
    if fields.messages:
        if fields.messages not in columns:
            shown = ", ".join(map(repr, columns[:20])) or "none"
            got = f"the columns {shown}"
            raise DataError(f"a column {fields.messages!r}", got, "name the column with messages: -o messages_field=")
        return fields.messages
    if fields.source in columns and any(name in columns for name in fields.references):
        return None
    return next((column for column in CHAT_COLUMNS if column in columns), None)


def list_chat_columns(columns: Sequence[str], column: str, fields: Fields) -> list[str]:
    """Return the columns of a table that conversations are read from."""
    wanted = dict.fromkeys([column, "tools", "functions", "system", *([fields.slice] if fields.slice else [])])
    return [name for name in wanted if name in columns]


def make_conversations(table: Table, column: str, fields: Fields) -> list[Example]:
    """Return one example a row. Turns after the assistant's last are left out, and counted in the log."""
    cut = 0
    examples = []
    for _, row in table.rows:
        messages = list(_convert_messages(_decode(row.get(column)), row.get("system")))
        end = max((number for number, one in enumerate(messages, start=1) if _get_role(one) == "assistant"), default=0)
        if 0 < end < len(messages):
            cut += 1
            messages = messages[:end]
        part = row.get(fields.slice) if fields.slice else None
        examples.append(_make_example(messages, _convert_tools(row), str(part) if part else None))
    if cut:
        logging.getLogger(_LOGGER).info(
            "%s: %s conversations ended with other messages than the assistant's, which were left out",
            table.name,
            f"{cut:,}",
        )
    return examples


def _make_example(messages: list[Any], tools: Any, part: str | None) -> Example:
    try:
        return Example.from_conversation(parse_conversation(messages, tools), part)
    except DataError:
        values = {"messages": messages, **({} if tools is None else {"tools": tools})}
        return Example("", (), part, json.dumps(values, ensure_ascii=False, default=str))


def _convert_messages(cell: Any, system: Any) -> Iterator[Any]:
    messages = _restore(cell)
    if not isinstance(messages, list):
        yield messages
        return
    if isinstance(system, str) and system.strip() and not any(_get_role(one) == "system" for one in messages):
        yield {"role": "system", "content": str(system)}
    for message in messages:
        yield _convert_message(message) if isinstance(message, dict) else message


def _convert_message(message: dict[str, Any]) -> dict[str, Any]:
    converted = {key: value for key, value in message.items() if value is not None}
    for old, new in (("from", "role"), ("value", "content")):
        if old in converted and new not in converted:
            converted[new] = converted.pop(old)
    given = converted.get("role")
    role = converted["role"] = _ROLES.get(given, given) if isinstance(given, str) else given
    call = converted.pop("function_call", None) if role == "assistant" else None
    if given == "function_call":
        call = _decode(converted.pop("content", None))
    if call is not None:
        calls = call if isinstance(call, list) else [call]
        converted["tool_calls"] = [{"type": "function", "function": one} for one in calls]
    if role == "tool" and isinstance(content := converted.get("content"), dict | list):
        converted["content"] = json.dumps(content, ensure_ascii=False)
    return converted


def _convert_tools(row: Mapping[str, Any]) -> Any:
    """Return the tools of a row in OpenAI's form; functions of its former form are wrapped."""
    tools = _restore(_decode(row.get("tools") or row.get("functions")))
    if not isinstance(tools, list):
        return tools or None
    return [
        {"type": "function", "function": one} if isinstance(one, dict) and "function" not in one else one
        for one in tools
    ] or None


def _get_role(message: Any) -> Any:
    return message.get("role", message.get("from")) if isinstance(message, dict) else None


def _decode(cell: Any) -> Any:
    """Return the value of a cell that holds JSON as text; others as they are."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell


def _restore(value: Any) -> Any:
    """Return a value with plain numbers, and without the empty keys that tables fill in."""
    if isinstance(value, NumberText):
        return json.loads(value)
    if isinstance(value, dict):
        return {key: _restore(inner) for key, inner in value.items() if inner is not None}
    return [*map(_restore, value)] if isinstance(value, list) else value
