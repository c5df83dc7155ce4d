"""Checks of chat messages and tools: keys, types, the order of roles, and tool calls. Knows no file and no limits."""

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from components.data.visible_text import has_visible_text
from components.errors import DataError

ROLES = ("system", "user", "assistant", "tool")
_KEYS: dict[str, tuple[str, ...]] = {
    "system": ("role", "content", "name"),
    "user": ("role", "content", "name"),
    "assistant": ("role", "content", "name", "tool_calls", "weight"),
    "tool": ("role", "content", "name", "tool_call_id"),
}
_CALL_KEYS = ("id", "type", "function")
_FUNCTION_KEYS = ("name", "arguments")
_TOOL_FUNCTION_KEYS = ("name", "description", "parameters", "strict")
_FORM = 'a line {"messages": [{"role": ..., "content": str}, ...], "tools": [...]?, "slice": str?}'
_FOLLOWERS = {
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user",),
    "calls": ("tool",),
    "tool": ("tool", "assistant"),
}


def check_messages(messages: Any, tool_names: Collection[str], *, needs_answer: bool) -> list[dict[str, Any]]:
    """Return the messages with contents as one text and arguments as JSON text.

    `tool_names` are those that may be called; empty: any. Raises DataError; `got` is the reason.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise _make_error("messages is no list of messages", "write messages as a list of objects")
    checked: list[dict[str, Any]] = []
    before: str | None = None
    open_calls: set[str] = set()
    for number, message in enumerate(messages, start=1):
        one = _check_message(message, f"message {number}", tool_names)
        role = one["role"]
        if role not in _FOLLOWERS[before]:
            raise _make_order_error(number, role, before)
        calls = one.get("tool_calls", ())
        if calls:
            open_calls = {call["id"] for call in calls if "id" in call}
        called = one.get("tool_call_id")
        if called is not None and open_calls and called not in open_calls:
            raise _make_error(f"message {number}: tool_call_id {called!r} of no tool call before", "correct the id")
        before = "calls" if calls else role
        checked.append(one)
    if needs_answer and before not in ("assistant", "calls"):
        raise _make_error(
            f"the last message is the {before}'s, not the assistant's", "add the answer, or remove the message"
        )
    if needs_answer and checked[-1].get("weight") == 0:
        raise _make_error("the last message has weight 0, so that it is not trained", "remove it, or its weight")
    if not needs_answer and before not in ("user", "tool"):
        raise _make_error(
            f"the last message is the {before}'s, not the user's or a tool's", "end with a message to answer"
        )
    return checked


def check_tools(tools: Any) -> list[dict[str, Any]]:
    """Return the tools; [] for None. Raises DataError; `got` is the reason."""
    if tools is None:
        return []
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise _make_error("tools is no list", "write tools as a list of objects")
    names: set[str] = set()
    for number, tool in enumerate(tools, start=1):
        where = f"tool {number}"
        _check_keys(tool, ("type", "function"), where)
        _check_function_type(tool, where)
        _check_keys(tool["function"], _TOOL_FUNCTION_KEYS, f"{where}, function")
        name = _require_text(tool["function"], "name", where)
        if not isinstance(tool["function"].get("description", ""), str):
            raise _make_error(f"{where}: description is no text", "write it as a string")
        if not isinstance(tool["function"].get("parameters", {}), Mapping):
            raise _make_error(f"{where}: parameters is no object", "write a JSON schema")
        if name in names:
            raise _make_error(f"{where}: a second tool named {name!r}", "remove one of the two")
        names.add(name)
    return [dict(tool) for tool in tools]


def _check_message(message: Any, where: str, tool_names: Collection[str]) -> dict[str, Any]:
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(message, Mapping) or role not in ROLES:
        got = f"{where}: role {role!r}" if isinstance(message, Mapping) else f"{where} is no object"
        raise _make_error(got, f"use the roles {', '.join(ROLES)}")
    _check_keys(message, _KEYS[role], where)
    checked = {key: message[key] for key in _KEYS[role] if message.get(key) is not None}
    for key in ("name", "tool_call_id"):
        if key in checked:
            _require_text(checked, key, where)
    if "weight" in checked and (isinstance(checked["weight"], bool) or checked["weight"] not in (0, 1)):
        raise _make_error(f"{where}: weight {checked['weight']!r}", "write 0 (not trained) or 1")
    if "tool_calls" in checked:
        checked["tool_calls"] = _check_calls(checked["tool_calls"], where, tool_names)
    content = _read_content(message.get("content"), where, may_be_null=bool(checked.get("tool_calls")))
    if role != "tool" and not checked.get("tool_calls") and not has_visible_text(content):
        raise _make_error(f"{where}: content of the {role} is empty", "write a text")
    return {"role": role, "content": content, **{key: value for key, value in checked.items() if key != "content"}}


def _read_content(content: Any, where: str, *, may_be_null: bool) -> str:
    if content is None and may_be_null:
        return ""
    if isinstance(content, str):
        return str(content)
    if isinstance(content, Sequence) and content:
        parts = [part if isinstance(part, Mapping) else {} for part in content]
        others = [one.get("type") for one in parts if one.get("type") != "text" or not isinstance(one.get("text"), str)]
        if not others:
            return "".join(part["text"] for part in parts)
        raise _make_error(
            f"{where}: a part of type {others[0]!r} in content", "PrefixFleet trains on text alone; remove the part"
        )
    raise _make_error(f"{where}: content of type {type(content).__name__}", "write content as a string")


def _check_calls(calls: Any, where: str, tool_names: Collection[str]) -> list[dict[str, Any]]:
    if not isinstance(calls, Sequence) or isinstance(calls, str) or not calls:
        raise _make_error(f"{where}: tool_calls is no list of calls", "write a list of calls, or leave tool_calls out")
    checked = []
    for number, call in enumerate(calls, start=1):
        place = f"{where}, tool call {number}"
        _check_keys(call, _CALL_KEYS, place)
        _check_function_type(call, place)
        function = call["function"]
        _check_keys(function, _FUNCTION_KEYS, f"{place}, function")
        name = _require_text(function, "name", place)
        if tool_names and name not in tool_names:
            near = difflib.get_close_matches(name, tool_names, n=1)
            fix = f"did you mean {near[0]!r}?" if near else "add the tool to tools, or correct the name"
            raise _make_error(f"{place}: no tool named {name!r} in tools", fix)
        given = {"id": _require_text(call, "id", place)} if call.get("id") is not None else {}
        arguments = _read_arguments(function.get("arguments"), place)
        checked.append({**given, "type": "function", "function": {"name": name, "arguments": arguments}})
    return checked


def _read_arguments(arguments: Any, place: str) -> str:
    fix = "write the arguments as a JSON object, or as its text"
    try:
        values = json.loads(arguments) if isinstance(arguments, str) else arguments
        if isinstance(values, Mapping):
            return json.dumps(values, ensure_ascii=False)
    except (ValueError, RecursionError):
        raise _make_error(f"{place}: arguments are no JSON", fix) from None
    raise _make_error(f"{place}: arguments of type {type(values).__name__}", fix)


def _check_keys(values: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(values, Mapping):
        raise _make_error(f"{where} is no object", "correct the line")
    unknown = [str(key) for key, value in values.items() if key not in known and value is not None]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        fix = f"did you mean {near[0]!r}?" if near else f"use only {', '.join(known)}"
        raise _make_error(f"{where}: unknown key {unknown[0]!r}", fix)


def _check_function_type(values: Mapping[str, Any], where: str) -> None:
    if values.get("type", "function") != "function" or not isinstance(values.get("function"), Mapping):
        raise _make_error(f"{where} is no function", 'write {"type": "function", "function": {"name": ...}}')


def _require_text(values: Mapping[str, Any], key: str, where: str) -> str:
    if not isinstance(text := values.get(key), str) or not has_visible_text(text):
        raise _make_error(f"{where}: {key} is no text", f"write {key} as a string")
    return text


def _make_order_error(number: int, role: str, before: str | None) -> DataError:
    places = {None: "first", "calls": "after tool calls"}
    place = places.get(before, f"after the {before}'s message")
    allowed = " or ".join(_FOLLOWERS[before])
    return _make_error(
        f"message {number}: role {role} {place}, where {allowed} must be", "correct the order of the messages"
    )


def _make_error(got: str, fix: str) -> DataError:
    return DataError(_FORM, got, fix)
