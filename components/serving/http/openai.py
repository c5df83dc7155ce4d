"""OpenAI's completions protocol as data: what may be asked and what is answered.

Knows the protocol's words and limits; what would change the output and is not supported is refused, never dropped.
Knows no tenant and no engine. Source: https://platform.openai.com/docs/api-reference/completions.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from components.serving.interface import FinishReason, Token

MAX_N = 128
_MAX_STOPS = 16

StopString = Annotated[str, Field(min_length=1, max_length=200)]
RecordValue = str | int | float
InputRecord = dict[str, RecordValue | list[RecordValue]]


def _allow_only(*allowed: Any) -> Any:
    def check(value: Any) -> Any:
        if value not in allowed:
            raise ValueError("not supported here, leave it out")
        return value

    return AfterValidator(check)


class _StrictBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_encodable(cls, body: Any) -> Any:
        """JSON can escape half of a surrogate pair, which no tokenizer, database or log takes."""
        if isinstance(body, dict):
            try:
                json.dumps(body, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise ValueError("text without halves of surrogate pairs") from None
        return body


class StreamOptions(_StrictBody):
    """What a stream brings beside the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(default=None, description="accepted; nothing is obfuscated")


class CompletionRequest(_StrictBody):
    """A completion. What is left out is as in the tenant's `evaluate` section, by which its version was gated."""

    model: str = Field(
        min_length=1, max_length=200, description="tenant, tenant@champion, tenant@challenger or tenant@<version>"
    )
    prompt: str | list[str] | None = Field(default=None, description="one source text or many; or else `input`")
    input: InputRecord | list[InputRecord] | None = Field(
        default=None, description="one record or many, written out as the tenant's training data were"
    )
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=MAX_N, description="answers to each prompt")
    stop: StopString | Annotated[list[StopString], Field(max_length=_MAX_STOPS)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63, description="left out: another one each time")
    logprobs: int | None = Field(default=None, ge=0, le=5)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(default=None, max_length=512, description="keeps to one arm of a canary")
    guidance: float | None = Field(
        default=None, ge=0, le=10, description="0 is the base, 1 the prefix, above 1 more than it"
    )
    best_of: int | None = Field(default=None, description="only as many as n")
    suffix: Annotated[str | None, _allow_only(None, "")] = None
    echo: Annotated[bool | None, _allow_only(None, False)] = None
    logit_bias: Annotated[dict[str, float] | None, _allow_only(None, {})] = None
    presence_penalty: Annotated[float | None, _allow_only(None, 0.0)] = None
    frequency_penalty: Annotated[float | None, _allow_only(None, 0.0)] = None

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if (self.prompt is None) == (self.input is None):
            raise ValueError("a prompt or an input, and not both")
        if self.prompt == [] or self.input == []:
            raise ValueError("at least one prompt or input")
        if self.best_of not in (None, self.n or 1):
            raise ValueError("best_of only as many as n")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options only with stream")
        return self

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class FeedbackRequest(_StrictBody):
    """What somebody thinks of an answer."""

    id: str = Field(min_length=1, max_length=100, description="of the completion")
    index: int = Field(default=0, ge=0, description="of the choice")
    rating: float | None = Field(default=None, ge=0, le=1, description="0: useless, 1: as it should be")
    text: str | None = Field(default=None, min_length=1, description="as it should have been")

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if self.rating is None and self.text is None:
            raise ValueError("a rating or a text")
        return self


class FeedbackAnswer(BaseModel):
    """The feedback is kept."""

    id: str
    object: Literal["feedback"] = "feedback"


class LogProbs(BaseModel):
    """Of each token: itself, its log probability, the likeliest others, and where it begins in the text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class Choice(BaseModel):
    """One answer, or a part of it."""

    text: str
    index: int
    logprobs: LogProbs | None = None
    finish_reason: FinishReason | None = None


class Usage(BaseModel):
    """Tokens; each prompt counts once, however many answers it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The answer, or a chunk of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class Model(BaseModel):
    """A tenant as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "prefixfleet"
    version: str | None = Field(description="the champion")
    challenger: str | None


class ModelList(BaseModel):
    """What the caller may ask."""

    object: Literal["list"] = "list"
    data: list[Model]


def to_logprobs(tokens: Sequence[Token], wanted: int | None, offset: int) -> LogProbs | None:
    """Tokens as the protocol wants them; `offset` characters of text come before. None where none are wanted."""
    if wanted is None:
        return None
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return LogProbs(
        tokens=[token.text for token in tokens],
        token_logprobs=[token.logprob for token in tokens],
        top_logprobs=[dict(token.alternatives) for token in tokens] if wanted else None,
        text_offset=offsets,
    )
