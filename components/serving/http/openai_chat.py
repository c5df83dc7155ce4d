"""OpenAI's chat protocol as data types: requests and responses.

A field that would change the output and is not supported is refused, never ignored. Knows the protocol; does not know
tenants, templates or the engine. Source: https://platform.openai.com/docs/api-reference/chat.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, model_serializer, model_validator

from components.serving.http.openai_fields import GenerationBody, StrictBody, Usage, allow_only, require_any
from components.serving.interface import Token

MAX_TOP_LOGPROBS = 20
_NAME = r"^[a-zA-Z0-9_-]{1,64}$"
ChatFinishReason = Literal["stop", "length", "tool_calls"]


class TextPart(StrictBody):
    """A part of a message's content; only text is supported."""

    type: Literal["text"]
    text: str


Content = str | Annotated[list[TextPart], Field(min_length=1, fail_fast=True)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class SystemMessage(StrictBody):
    """What the application says before the conversation."""

    role: Literal["system", "developer"]
    content: Content
    name: Name | None = None


class UserMessage(StrictBody):
    """What the user says."""

    role: Literal["user"]
    content: Content
    name: Name | None = None


class FunctionCall(StrictBody):
    """A function's name, and its arguments as the text of a JSON object."""

    name: Annotated[str, Field(pattern=_NAME)]
    arguments: str


class ToolCall(StrictBody):
    """A call of a function by the assistant."""

    id: str = Field(min_length=1, max_length=200)
    type: Literal["function"] = "function"
    function: FunctionCall


class AssistantMessage(StrictBody):
    """An earlier turn of the assistant; the fields of an answer that are null may be sent back."""

    role: Literal["assistant"]
    content: Content | None = None
    name: Name | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, fail_fast=True)] | None = None
    refusal: Annotated[str | None, allow_only(None)] = None
    audio: Annotated[dict[str, Any] | None, allow_only(None)] = None
    function_call: Annotated[dict[str, Any] | None, allow_only(None)] = None
    annotations: Annotated[list[Any] | None, allow_only(None, [])] = None

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if self.content is None and self.tool_calls is None:
            raise ValueError("content or tool_calls")
        return self


class ToolMessage(StrictBody):
    """What a called function returned."""

    role: Literal["tool"]
    content: Content
    tool_call_id: str = Field(min_length=1, max_length=200)


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Discriminator("role")]


class FunctionTool(StrictBody):
    """A function that the assistant may call."""

    name: str = Field(pattern=_NAME)
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: Annotated[bool | None, allow_only(None, False)] = None


class Tool(StrictBody):
    """A tool; only functions are supported."""

    type: Literal["function"]
    function: FunctionTool


class ChatRequest(GenerationBody):
    """A request for the next turn of a conversation."""

    model_config = ConfigDict(json_schema_extra=require_any("messages"))

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1, description="an older name of max_completion_tokens")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_TOP_LOGPROBS, description="only with logprobs")
    tools: Annotated[list[Tool], Field(max_length=128, fail_fast=True)] | None = Field(
        default=None, description="written by the base's chat template"
    )
    tool_choice: Annotated[JsonValue, allow_only(None, "none", "auto")] = None
    parallel_tool_calls: Annotated[bool | None, allow_only(None, True)] = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16, description="accepted and not kept")
    store: Annotated[bool | None, allow_only(None, False)] = None
    service_tier: Annotated[str | None, allow_only(None, "auto", "default")] = None
    safety_identifier: str | None = Field(default=None, max_length=512, description="used as user if there is none")
    prompt_cache_key: str | None = Field(default=None, max_length=512, description="accepted and not used")
    modalities: Annotated[list[str] | None, allow_only(None, ["text"])] = None
    reasoning_effort: Annotated[str | None, allow_only(None)] = None
    verbosity: Annotated[str | None, allow_only(None)] = None
    prediction: Annotated[JsonValue, allow_only(None)] = None
    audio: Annotated[JsonValue, allow_only(None)] = None
    web_search_options: Annotated[JsonValue, allow_only(None)] = None
    functions: Annotated[JsonValue, allow_only(None)] = None
    function_call: Annotated[JsonValue, allow_only(None)] = None

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs only together with logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_completion_tokens or max_tokens, not both")
        if self.tool_choice is not None and not self.tools:
            raise ValueError("tool_choice only together with tools")
        if self.messages[-1].role == "assistant":
            raise ValueError("a last message that is not the assistant's")
        if self.schema_text and self.usable_tools:
            raise ValueError("either tools (with tool_choice auto) or a response_format of JSON")
        names = [tool.function.name for tool in self.tools or ()]
        if len(names) > len(set(names)):
            raise ValueError("tools with different names")
        return self

    @property
    def token_limit(self) -> int | None:
        """See `GenerationBody.token_limit`."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        """See `GenerationBody.wanted_logprobs`."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def end_user(self) -> str | None:
        """See `GenerationBody.end_user`."""
        return self.safety_identifier if self.user is None else self.user

    @property
    def usable_tools(self) -> list[Tool]:
        """The tools that may be called."""
        return [] if self.tool_choice == "none" else list(self.tools or ())


class TopLogprob(BaseModel):
    """A token that could have been generated."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """A generated token, and the likeliest ones in its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """The log probability of each token."""

    content: list[TokenLogprob]
    refusal: None = None


class AnswerFunction(BaseModel):
    """See `FunctionCall`."""

    name: str
    arguments: str


class AnswerToolCall(BaseModel):
    """See `ToolCall`."""

    id: str
    type: Literal["function"] = "function"
    function: AnswerFunction


class AnswerMessage(BaseModel):
    """The assistant's turn."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[AnswerToolCall] | None = None

    @model_serializer(mode="wrap")
    def _leave_out_missing_calls(self, handler: Any) -> Any:
        values = handler(self)
        return values if self.tool_calls else {key: value for key, value in values.items() if key != "tool_calls"}


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: ChatFinishReason


class ChatCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class ToolCallDelta(AnswerToolCall):
    """A whole tool call in a stream."""

    index: int


class Delta(BaseModel):
    """What a chunk adds to a message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None

    @model_serializer(mode="wrap")
    def _leave_out_missing(self, handler: Any) -> Any:
        return {key: value for key, value in handler(self).items() if value is not None}


class ChunkChoice(BaseModel):
    """A piece of one answer."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: ChatFinishReason | None = None


class ChatChunk(BaseModel):
    """One chunk of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


def to_chat_logprobs(tokens: Sequence[Token], wanted: int | None) -> ChatLogprobs | None:
    """Return the tokens in the protocol's form; None if `wanted` is None."""
    if wanted is None:
        return None
    return ChatLogprobs(
        content=[
            TokenLogprob(
                token=token.text,
                logprob=token.logprob or 0.0,
                bytes=list(token.text.encode()),
                top_logprobs=[
                    TopLogprob(token=text, logprob=value, bytes=list(text.encode()))
                    for text, value in token.alternatives[:wanted]
                ],
            )
            for token in tokens
        ]
    )
