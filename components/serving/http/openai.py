"""OpenAI's completions protocol as data types: requests and responses.

A field that would change the output and is not supported is refused, never ignored. Knows the protocol; does not know
tenants or the engine. Source: https://platform.openai.com/docs/api-reference/completions.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from components.serving.interface import FinishReason, Token

MAX_N = 128
_MAX_STOPS = 16
_MAX_KEY_CHARS = 1000
"""A record's key is written once for each of its values."""

StopString = Annotated[str, Field(min_length=1, max_length=200)]
RecordValue = str | int | float
RecordKey = Annotated[str, Field(max_length=_MAX_KEY_CHARS)]
InputRecord = Annotated[
    dict[RecordKey, RecordValue | Annotated[list[RecordValue], Field(fail_fast=True)]], Field(fail_fast=True)
]


def _allow_only(*allowed: Any) -> Any:
    def check(value: Any) -> Any:
        if value not in allowed:
            raise ValueError("no value, as it is not supported")
        return value

    return AfterValidator(check)


def _require_any(*names: str) -> dict[str, JsonValue]:
    """Return a part of a schema in which at least one of the fields is required."""
    return {"anyOf": [{"required": [name]} for name in names]}


class _StrictBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_encodable(cls, body: Any) -> Any:
        """Refuse lone surrogates: JSON can escape them, but no tokenizer, database or log accepts them.

        Of several unknown keys only the first is kept: each would be an error, and one is told.
        """
        if not isinstance(body, dict):
            return body
        try:
            json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("text without lone surrogates") from None
        others = set([key for key in body if key not in cls.model_fields][1:])
        return {key: value for key, value in body.items() if key not in others} if others else body


class StreamOptions(_StrictBody):
    """What a stream contains in addition to the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(default=None, description="accepted and ignored: nothing is obfuscated")


class CompletionRequest(_StrictBody):
    """A request for a completion. A missing field has the value of the tenant's `evaluate` section."""

    model_config = ConfigDict(json_schema_extra=_require_any("prompt", "input"))

    model: str = Field(
        min_length=1, max_length=200, description="tenant, tenant@champion, tenant@challenger or tenant@<version>"
    )
    prompt: str | Annotated[list[str], Field(fail_fast=True)] | None = Field(
        default=None, description="one source text or several; not with `input`"
    )
    input: InputRecord | Annotated[list[InputRecord], Field(fail_fast=True)] | None = Field(
        default=None, description="one record or several, written in the form of the tenant's training data"
    )
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=MAX_N, description="samples for each prompt")
    stop: StopString | Annotated[list[StopString], Field(max_length=_MAX_STOPS, fail_fast=True)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63, description="missing: a random seed for each request")
    logprobs: int | None = Field(default=None, ge=0, le=5)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(default=None, max_length=512, description="keeps a user on one arm of a canary")
    guidance: float | None = Field(
        default=None, ge=0, le=10, description="0: the base alone; 1: the prefix; above 1: the prefix amplified"
    )
    best_of: int | None = Field(default=None, description="must equal n")
    suffix: Annotated[str | None, _allow_only(None, "")] = None
    echo: Annotated[bool | None, _allow_only(None, False)] = None
    logit_bias: Annotated[Annotated[dict[str, float], Field(fail_fast=True)] | None, _allow_only(None, {})] = None
    presence_penalty: Annotated[float | None, _allow_only(None, 0.0)] = None
    frequency_penalty: Annotated[float | None, _allow_only(None, 0.0)] = None

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if (self.prompt is None) == (self.input is None):
            raise ValueError("exactly one of prompt and input")
        if self.prompt == [] or self.input == []:
            raise ValueError("at least one prompt or input")
        if self.best_of not in (None, self.n or 1):
            raise ValueError("best_of equal to n")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options only together with stream")
        return self

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """All stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class FeedbackRequest(_StrictBody):
    """Feedback on an answer."""

    model_config = ConfigDict(json_schema_extra=_require_any("rating", "text"))

    id: str = Field(min_length=1, max_length=100, description="id of the completion")
    index: int = Field(default=0, ge=0, description="index of the choice")
    rating: float | None = Field(default=None, ge=0, le=1, description="0: useless; 1: correct")
    text: str | None = Field(default=None, min_length=1, description="the correct text")
    user: str | None = Field(default=None, max_length=512, description="who gives it; missing: the answer's user")

    @model_validator(mode="after")
    def _check_not_empty(self) -> Self:
        if self.rating is None and self.text is None:
            raise ValueError("a rating or a text, or both")
        return self


class FeedbackAnswer(BaseModel):
    """The feedback was saved."""

    id: str
    object: Literal["feedback"] = "feedback"


class LogProbs(BaseModel):
    """For each token: its text, its log probability, the likeliest tokens, and its offset in the text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class Choice(BaseModel):
    """One answer, or a piece of it in a stream."""

    text: str
    index: int
    logprobs: LogProbs | None = None
    finish_reason: FinishReason | None = None


class Usage(BaseModel):
    """Numbers of tokens; a prompt counts once for its n samples."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The whole answer, or one chunk of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class Model(BaseModel):
    """A tenant, in the form of a model of OpenAI's API."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "prefixfleet"
    version: str | None = Field(description="version of the champion")
    challenger: str | None
    trouble: str | None = Field(default=None, description="why the champion cannot answer; null: it can")


class ModelList(BaseModel):
    """The caller's tenants."""

    object: Literal["list"] = "list"
    data: list[Model]


def to_logprobs(tokens: Sequence[Token], wanted: int | None) -> LogProbs | None:
    """Return the tokens in the protocol's form, None if `wanted` is None. Of equal texts the likeliest is kept."""
    if wanted is None:
        return None
    return LogProbs(
        tokens=[token.text for token in tokens],
        token_logprobs=[token.logprob for token in tokens],
        top_logprobs=[_keep_first(token.alternatives) for token in tokens] if wanted else None,
        text_offset=[token.offset for token in tokens],
    )


def _keep_first(alternatives: Sequence[tuple[str, float]]) -> dict[str, float]:
    kept: dict[str, float] = {}
    for text, logprob in alternatives:
        kept.setdefault(text, logprob)
    return kept
