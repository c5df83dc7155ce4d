"""The fields that all of OpenAI's endpoints share which generate text, as data types.

A field that would change the output and is not supported is refused, never ignored. Knows the protocol; does not know
tenants or the engine. Source: https://platform.openai.com/docs/api-reference.
"""

import json
from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

MAX_N = 128
_MAX_STOPS = 16
_MAX_BIASED_TOKENS = 1024
_MAX_BEAMS = 64

StopString = Annotated[str, Field(min_length=1, max_length=200)]
TokenId = Annotated[str, Field(pattern="^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


def allow_only(*allowed: Any) -> Any:
    """Return the validator of a field that is not supported: only values that change nothing are accepted."""

    def check(value: Any) -> Any:
        if value not in allowed:
            raise ValueError("no value, as it is not supported")
        return value

    return AfterValidator(check)


def require_any(*names: str) -> dict[str, JsonValue]:
    """Return a part of a schema in which at least one of the fields is required."""
    return {"anyOf": [{"required": [name]} for name in names]}


class StrictBody(BaseModel):
    """A body, or an object in it, without unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_encodable(cls, body: Any) -> Any:
        """Refuse lone surrogates: JSON can escape them, but no tokenizer, database or log accepts them.

        Of several unknown keys only the first is kept: each would be an error, and one is told.
        """
        if not isinstance(body, dict):
            return body
        texts = [value for value in body.values() if isinstance(value, str)]
        try:
            "".join([*body, *texts]).encode()  # a long text as JSON takes over a hundred times as long
            json.dumps([one for one in body.values() if not isinstance(one, str)], ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("text without lone surrogates") from None
        others = set([key for key in body if key not in cls.model_fields][1:])
        return {key: value for key, value in body.items() if key not in others} if others else body


class StreamOptions(StrictBody):
    """What a stream contains in addition to the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(default=None, description="accepted and ignored: nothing is obfuscated")


class ResponseFormat(StrictBody):
    """What an answer must be: any text, a JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, JsonValue] | None = Field(
        default=None, description="name, schema, and perhaps description and strict; only with type json_schema"
    )

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        given = self.json_schema
        if (given is not None) != (self.type == "json_schema"):
            raise ValueError("json_schema together with type json_schema, and only then")
        if given is not None:
            if unknown := sorted(set(given) - {"name", "schema", "description", "strict"}):
                raise ValueError(f"only name, schema, description and strict in json_schema, not {unknown[0][:100]!r}")
            if not isinstance(given.get("name"), str) or not isinstance(given.get("schema"), dict):
                raise ValueError("json_schema with name (a text) and schema (an object)")
        return self

    @property
    def schema_text(self) -> str:
        """The schema as JSON; "" if the answer may be any text."""
        if self.type == "text":
            return ""
        return json.dumps({"type": "object"} if self.json_schema is None else self.json_schema["schema"])


class GenerationBody(StrictBody, ABC):
    """How text is generated. A missing field has the value with which the tenant's version was evaluated."""

    model: str = Field(
        min_length=1, max_length=200, description="tenant, tenant@champion, tenant@challenger or tenant@<version>"
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="above 0: samples, without the tenant's beams"
    )
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1, le=MAX_N, description="samples for each prompt")
    stop: StopString | Annotated[list[StopString], Field(max_length=_MAX_STOPS, fail_fast=True)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63, description="missing: a random seed for each request")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = Field(default=None, max_length=512, description="keeps a user on one arm of a canary")
    guidance: float | None = Field(
        default=None, ge=0, le=10, description="0: the base alone; 1: the prefix; above 1: the prefix amplified"
    )
    num_beams: int | None = Field(
        default=None, ge=1, le=_MAX_BEAMS, description="1: no beam search; at most those of the tenant's evaluation"
    )
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=_MAX_BIASED_TOKENS, fail_fast=True)] | None = Field(
        default=None, description="token id -> what is added to its logit"
    )
    presence_penalty: float | None = Field(default=None, ge=-2, le=2, description="on tokens that the answer has")
    frequency_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="on tokens, for each time that the answer has them"
    )

    response_format: ResponseFormat | None = Field(
        default=None, description="the answer is valid JSON unless its finish_reason is length"
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.schema_text and (self.stop or (self.num_beams or 1) > 1):
            raise ValueError("response_format without stop and without num_beams above 1")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options only together with stream")
        if self.temperature and (self.num_beams or 1) > 1:
            raise ValueError("either num_beams above 1 or a temperature above 0")
        return self

    @property
    def schema_text(self) -> str:
        """See `TokenControls.json_schema`."""
        return "" if self.response_format is None else self.response_format.schema_text

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """All stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def end_user(self) -> str | None:
        """The user of the request; None: unknown."""
        return self.user

    @property
    @abstractmethod
    def token_limit(self) -> int | None:
        """Most tokens of an answer; None: the request has no limit."""

    @property
    @abstractmethod
    def wanted_logprobs(self) -> int | None:
        """See `GenerationRequest.logprobs`."""


class Usage(BaseModel):
    """Numbers of tokens; a prompt counts once for its n samples."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
