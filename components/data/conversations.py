"""Conversations: messages in OpenAI's form, perhaps with tools, checked and written in one form. Knows no file.

A conversation ends with the assistant's turn, the answer; what comes before is its prompt. Prompts and answers have
texts, by which conversations are compared as pairs are: the text of a prompt is its JSON.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.data.message_checks import check_messages, check_tools
from components.data.visible_text import trim_text

Message = Mapping[str, Any]
CHAT_KEYS = ("messages", "tools")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages and tools as they are written in a line; contents are text, arguments of tool calls are JSON texts."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def prompt(self) -> "Conversation":
        """The messages before the last, with the tools."""
        return Conversation(self.messages[:-1], self.tools)

    @property
    def answer(self) -> str:
        """The text of the last message; of a message with tool calls alone, their names and arguments as JSON."""
        last = self.messages[-1]
        if last["content"] or not last.get("tool_calls"):
            return str(last["content"])
        calls = [call["function"] for call in last["tool_calls"]]
        return _write([{"name": one["name"], "arguments": json.loads(one["arguments"])} for one in calls])

    @property
    def has_tool_calls(self) -> bool:
        """Whether the last message calls tools."""
        return bool(self.messages[-1].get("tool_calls"))

    @property
    def texts(self) -> list[str]:
        """The contents of all messages before the last that have one."""
        return [message["content"] for message in self.messages[:-1] if message["content"]]

    def trim(self) -> "Conversation":
        """Return the conversation with trimmed contents, as `trim_text` does."""
        messages = [{**message, "content": trim_text(message["content"])} for message in self.messages]
        return Conversation(tuple(messages), self.tools)

    def list_turns(self) -> list["Conversation"]:
        """Return the conversation up to each of the assistant's turns."""
        ends = [number for number, one in enumerate(self.messages, start=1) if one["role"] == "assistant"]
        return [Conversation(self.messages[:end], self.tools) for end in ends]

    def to_json(self) -> str:
        """Return the JSON; the same conversation always gives the same text."""
        values: dict[str, Any] = {"messages": list(self.messages)}
        if self.tools:
            values["tools"] = list(self.tools)
        return _write(values)

    @classmethod
    def from_json(cls, text: str) -> "Conversation":
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(tuple(values["messages"]), tuple(values.get("tools", ())))


def parse_conversation(messages: Any, tools: Any = None, *, needs_answer: bool = True) -> Conversation:
    """Check messages and tools, and return them in one form: parts of text are joined, null is "" beside tool calls.

    `needs_answer`: the last message is the assistant's; else it is not.

    Raises:
        DataError: the form is another, roles are out of order, or a content is empty; `got` is the reason.
    """
    checked_tools = check_tools(tools)
    checked = check_messages(messages, {tool["function"]["name"] for tool in checked_tools}, needs_answer=needs_answer)
    return Conversation(tuple(checked), tuple(checked_tools))


def _write(values: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(values, ensure_ascii=False)
