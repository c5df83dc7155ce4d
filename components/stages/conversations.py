"""Examples as what a base reads, and as what its answers are compared with: pairs as texts, conversations as messages.

Knows examples and bases; does not know tenants, metrics or files.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from components.data.conversations import parse_conversation
from components.data.schema import Example
from components.errors import DataError
from components.storage.json_text import parse_json

if TYPE_CHECKING:
    from components.model.base.load import Base
    from components.model.text.chat import ChatPrompt


def make_input(example: Example) -> "str | ChatPrompt":
    """Return what is decoded after: the source, or the messages before the last turn."""
    from components.model.text.chat import ChatPrompt

    if (conversation := example.conversation) is None:
        return example.source
    return ChatPrompt(conversation.messages[:-1], conversation.tools or None)


def resolve_references(base: "Base", examples: Sequence[Example]) -> list[Example]:
    """Return the examples; references that call tools are in the form in which the base's chat template writes calls.

    Raises:
        BaseModelError, DataError: the base has no chat template, or it refuses a conversation.
    """
    return [_resolve(base, example) for example in examples]


def read_input(text: str) -> "str | ChatPrompt":
    """Return messages for a text that is a JSON object with `messages`, else the text itself.

    Raises:
        DataError: the messages are not well-formed, or the last is the assistant's.
    """
    from components.model.text.chat import ChatPrompt

    if not text.lstrip().startswith("{"):
        return text
    try:
        values = parse_json(text)
    except ValueError:
        return text
    if not isinstance(values, dict) or "messages" not in values:
        return text
    if unknown := sorted(set(values) - {"messages", "tools"}):
        raise DataError('{"messages": [...], "tools": [...]?}', f"unknown key {unknown[0]!r}", "remove it")
    conversation = parse_conversation(values["messages"], values.get("tools"), needs_answer=False)
    return ChatPrompt(conversation.messages, conversation.tools or None)


def _resolve(base: "Base", example: Example) -> Example:
    conversation = example.conversation
    if conversation is None or not conversation.has_tool_calls:
        return example
    from components.model.text.chat import remove_thoughts

    (row,) = base.chat_codec.encode_conversation(conversation.messages, conversation.tools or None, turns="last")
    return replace(example, references=(remove_thoughts(base.chat_codec.decode_last_turn(row)),))
