"""OpenAI's completions protocol as data types: requests and responses.

Knows the protocol; does not know tenants or the engine. Source: https://platform.openai.com/docs/api-reference/completions.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.serving.http.openai_fields import GenerationBody, StrictBody, Usage, allow_only, require_any
from components.serving.interface import FinishReason, Token

_MAX_KEY_CHARS = 1000
"""A record's key is written once for each of its values."""

RecordValue = str | int | float
RecordKey = Annotated[str, Field(max_length=_MAX_KEY_CHARS)]
InputRecord = Annotated[
    dict[RecordKey, RecordValue | Annotated[list[RecordValue], Field(fail_fast=True)]], Field(fail_fast=True)
]


class CompletionRequest(GenerationBody):
    """A request for a completion."""

    model_config = ConfigDict(json_schema_extra=require_any("prompt", "input"))

    prompt: str | Annotated[list[str], Field(fail_fast=True)] | None = Field(
        default=None, description="one source text or several; not with `input`"
    )
    input: InputRecord | Annotated[list[InputRecord], Field(fail_fast=True)] | None = Field(
        default=None, description="one record or several, written in the form of the tenant's training data"
    )
    max_tokens: int | None = Field(default=None, ge=1)
    logprobs: int | None = Field(default=None, ge=0, le=5)
    best_of: int | None = Field(default=None, description="must equal n")
    suffix: Annotated[str | None, allow_only(None, "")] = None
    echo: Annotated[bool | None, allow_only(None, False)] = None

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if (self.prompt is None) == (self.input is None):
            raise ValueError("exactly one of prompt and input")
        if self.prompt == [] or self.input == []:
            raise ValueError("at least one prompt or input")
        if self.best_of not in (None, self.n or 1):
            raise ValueError("best_of equal to n")
        return self

    @property
    def token_limit(self) -> int | None:
        """See `GenerationBody.token_limit`."""
        return self.max_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        """See `GenerationBody.wanted_logprobs`."""
        return self.logprobs


class FeedbackRequest(StrictBody):
    """Feedback on an answer."""

    model_config = ConfigDict(json_schema_extra=require_any("rating", "text"))

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
