"""The endpoint /v1/chat/completions: a conversation becomes rows, and rows become messages.

A version that was trained on conversations reads the messages through the base's chat template. One that was trained on
pairs reads the one message of the user as its source. Does not know the service, API keys or HTTP.
"""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from components.config import Params
from components.registry.mlflow.versions import Version, reads_conversations
from components.serving.errors import RefusalError
from components.serving.http.answer_form import AnswerForm, AnswerStamp
from components.serving.http.chat_text import ChatTextStream, ParsedCall, ToolCallParser, make_parser, split_answer
from components.serving.http.conversations import write_conversation
from components.serving.http.generation_settings import check_at_most, make_settings
from components.serving.http.openai_chat import (
    AnswerFunction,
    AnswerMessage,
    AnswerToolCall,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatFinishReason,
    ChatRequest,
    ChunkChoice,
    Delta,
    ToolCallDelta,
    to_chat_logprobs,
)
from components.serving.http.openai_fields import Usage
from components.serving.interface import AnswerPiece, FinishReason, GenerationRequest, Token, ToolCallForm
from components.serving.request_sequences import SequenceResult


class ChatForm(AnswerForm):
    """The next turn of a conversation."""

    id_start = "chatcmpl-"

    def __init__(self, body: ChatRequest, tool_call_form: ToolCallForm | None) -> None:
        """`tool_call_form` is how the base writes tool calls.

        Raises:
            RefusalError: 400, tools for a base that does not write tool calls as JSON.
        """
        self._body, tools = body, body.usable_tools
        if tools and tool_call_form is None:
            got = "tools for a base whose chat template does not write calls as a name and JSON"
            raise RefusalError(400, "a request without tools", got, "leave tools out", code="invalid_parameter")
        self._parser: ToolCallParser | None = make_parser(tool_call_form, [tool.function.name for tool in tools])
        self._streams: dict[int, ChatTextStream] = {}

    @property
    def body(self) -> ChatRequest:
        """See `AnswerForm.body`."""
        return self._body

    def make_rows(self, version: Version, params: Params) -> list[GenerationRequest]:
        """See `AnswerForm.make_rows`."""
        body, access, samples = self.body, params.access, self.body.n or 1
        is_chat = reads_conversations(version)
        source = _write_conversation(body) if is_chat else _read_source(body)
        check_at_most(access.max_rows, samples, "rows (n)", "lower n")
        check_at_most(access.max_prompt_chars, len(source), "characters in the messages", "shorten the messages")
        settings = replace(make_settings(body, version, params), source=source, is_chat=is_chat)
        return [replace(settings, sample_index=sample) for sample in range(samples)]

    def write_answer(
        self, stamp: AnswerStamp, results: Sequence[SequenceResult], tokens: Sequence[Sequence[Token]], usage: Usage
    ) -> BaseModel:
        """See `AnswerForm.write_answer`."""
        choices = []
        for index, (result, own) in enumerate(zip(results, tokens, strict=True)):
            content, calls = split_answer(result.text, self._parser) if result.request.is_chat else (result.text, [])
            message = AnswerMessage(
                content=None if calls and not content else content, tool_calls=_to_tool_calls(calls) or None
            )
            logprobs = to_chat_logprobs(own, self.body.wanted_logprobs)
            finish = _find_finish(result.finish, calls) or "stop"
            choices.append(ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=finish))
        return ChatCompletion(id=stamp.id, created=stamp.created, model=stamp.model, choices=choices, usage=usage)

    def write_piece(self, stamp: AnswerStamp, index: int, piece: AnswerPiece) -> list[BaseModel]:
        """See `AnswerForm.write_piece`; the first chunk of a row names the role."""
        stream = self._streams.get(index)
        deltas: list[Delta] = []
        if stream is None:
            stream = self._streams[index] = ChatTextStream(self._parser)
            deltas.append(Delta(role="assistant", content=""))
        content, calls = stream.add(piece.text, is_last=piece.finish is not None)
        if content or (piece.tokens and self.body.logprobs):
            deltas.append(Delta(content=content))
        if calls:
            called = [
                ToolCallDelta(index=number, **call.model_dump()) for number, call in enumerate(_to_tool_calls(calls))
            ]
            deltas.append(Delta(tool_calls=called))
        chunks = [ChunkChoice(index=index, delta=delta) for delta in deltas]
        if self.body.logprobs and piece.tokens:
            chunks[-1].logprobs = to_chat_logprobs(piece.tokens, self.body.wanted_logprobs)
        if piece.finish is not None:
            chunks.append(ChunkChoice(index=index, delta=Delta(), finish_reason=_find_finish(piece.finish, calls)))
        return [_write_chunk(stamp, [chunk]) for chunk in chunks]

    def write_usage(self, stamp: AnswerStamp, usage: Usage) -> BaseModel:
        """See `AnswerForm.write_usage`."""
        return _write_chunk(stamp, [], usage)


def _write_conversation(body: ChatRequest) -> str:
    """Return the messages and tools as one JSON text, the same for the same conversation."""
    tools = [tool.model_dump(exclude_none=True) for tool in body.usable_tools]
    return write_conversation([_to_message(message) for message in body.messages], tools)


def _to_message(message: BaseModel) -> dict[str, Any]:
    values = message.model_dump(exclude_none=True)
    content = values.get("content", "")
    values["content"] = content if isinstance(content, str) else "".join(part["text"] for part in content)
    return {"role": values.pop("role"), "content": values.pop("content"), **values}


def _read_source(body: ChatRequest) -> str:
    """Return the source for a version that was trained on pairs. Raises RefusalError: 400, another conversation."""
    if len(body.messages) != 1 or body.messages[0].role != "user" or body.usable_tools:
        roles = ", ".join(message.role for message in body.messages[:10])
        got = f"messages of {roles}" + (", and tools" if body.usable_tools else "")
        wanted = "one message of the user, which is the source (this tenant was trained on sources and targets)"
        raise RefusalError(400, wanted, got, "send only the source", code="invalid_parameter")
    source = str(_to_message(body.messages[0])["content"])
    if not source.strip():
        raise RefusalError(400, "a message with text", "an empty text", "send text as in the tenant's data")
    return source


def _find_finish(finish: FinishReason | None, calls: Sequence[ParsedCall]) -> ChatFinishReason | None:
    return "tool_calls" if calls and finish == "stop" else finish


def _to_tool_calls(calls: Sequence[ParsedCall]) -> list[AnswerToolCall]:
    return [
        AnswerToolCall(
            id=f"call_{secrets.token_hex(12)}", function=AnswerFunction(name=call.name, arguments=call.arguments)
        )
        for call in calls
    ]


def _write_chunk(stamp: AnswerStamp, choices: list[ChunkChoice], usage: Usage | None = None) -> ChatChunk:
    return ChatChunk(id=stamp.id, created=stamp.created, model=stamp.model, choices=choices, usage=usage)
