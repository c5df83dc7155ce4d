"""Conversations in the engine: their prompts, and how a base's chat template writes tool calls.

Knows bases and their templates; does not know queues or HTTP.
"""

import json
from json import JSONDecoder
from typing import Any

from components.errors import PrefixFleetError
from components.model.base.load import Base
from components.model.text.chat import ChatPrompt
from components.model.text.chat_template import Messages
from components.serving.interface import ToolCallForm

_NAME, _KEY = "probe_name", "probe_key"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "a probe",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "string", "description": "a text"}}},
    },
}
_CALL_ID = "call12345"
"""Some templates accept ids of nine letters and digits only."""


def read_conversation(source: str) -> ChatPrompt:
    """Return a source that is JSON with `messages`, and perhaps `tools`, as messages to continue."""
    values = json.loads(source)
    return ChatPrompt(values["messages"], values.get("tools"))


def find_tool_call_form(base: Base) -> ToolCallForm | None:
    """Return how the base's chat template writes tool calls, found by rendering one; None: not as a name and JSON."""
    if base.is_encoder_decoder or not getattr(base.tokenizer, "chat_template", None):
        return None
    call: Any = {
        "id": _CALL_ID,
        "type": "function",
        "function": {"name": _NAME, "arguments": json.dumps({_KEY: "value"})},
    }
    messages: Messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    try:
        (row,) = base.chat_codec.encode_conversation(messages, [_TOOL], turns="last")
    except PrefixFleetError:
        return None
    text = base.chat_codec.decode_last_turn(row)
    before, found, after = text.partition(_NAME)
    for place, letter in enumerate(after if found else ""):
        if letter == "{":
            try:
                arguments, _ = JSONDecoder().raw_decode(after, place)
            except ValueError:
                continue
            if arguments == {_KEY: "value"} and before.strip():
                return ToolCallForm(before, after[:place])
    return None
