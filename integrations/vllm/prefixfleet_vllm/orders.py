"""What a request asks of the plugin, in `kv_transfer_params["prefixfleet"]` of vLLM's HTTP API.

    {"sha256", "tenant", "length", "address"?}      answer with this prefix
    {"sha256", "tenant", "method": "lora", "address"?}    answer with this LoRA artifact
    {"load": {the same}, "pinned"?: bool}           load it and say whether that worked; pinned: never evict it
    {"drop": [sha256, ...]}                         remove every trace of these artifacts from memory
    {"status": [sha256, ...]}                       say what is in memory; [] means all

The last three are orders: their own answer is in `kv_transfer_params` of the response, and their text means nothing.
Pure; both the HTTP server and the scheduler call it, so that what one refuses the other refuses too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.manifest import LORA, PREFIX, TENANT_PATTERN, Method
from prefixfleet_vllm.settings import HexDigest

KEY = "prefixfleet"
_MAX_SLOTS = 1 << 16
_SHA256 = re.compile("[0-9a-f]{64}")
_FIX = "see the README of prefixfleet-vllm for the form of a request"


class ArtifactRef(BaseModel):
    """An artifact, and what the caller knows of it: all of this is compared with its files."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: HexDigest
    tenant: Annotated[str, Field(pattern=TENANT_PATTERN)]
    method: Method = PREFIX
    length: int = Field(
        default=0,
        ge=0,
        le=_MAX_SLOTS,
        description="slots of a prefix; the prompt begins with as many placeholder ids. 0 for a LoRA artifact",
    )
    address: str = Field(
        default="", description="URL of its folder below one of the stores; '': <first store>/<sha256>"
    )

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if (self.method == LORA) != (self.length == 0):
            raise ValueError("a length of at least 1 for method prefix, and none for method lora")
        return self


@dataclass(frozen=True, slots=True)
class Generation:
    """Answer a prompt with an artifact."""

    artifact: ArtifactRef


@dataclass(frozen=True, slots=True)
class Load:
    """Load an artifact before a request needs it."""

    artifact: ArtifactRef
    pinned: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove artifacts and everything that was computed with them."""

    sha256s: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Tell what is in memory; of all artifacts if none is named."""

    sha256s: tuple[str, ...]


Order = Generation | Load | Drop | Status


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Load(_Fields):
    load: ArtifactRef
    pinned: bool | None = None


class _Drop(_Fields):
    drop: list[HexDigest] = Field(min_length=1)


class _Status(_Fields):
    status: list[HexDigest]


def check_request(
    params: Mapping[str, Any] | None,
    *,
    prompt_tokens: int | None,
    cache_salt: str | None,
    wants_prompt_logprobs: bool,
    serve_base: bool,
) -> Order | None:
    """Return what a request asks for; None: an answer of the base alone.

    `params` are the request's `kv_transfer_params`; `prompt_tokens` is None for a prompt of text.

    Raises:
        PluginError: the request cannot be answered as it is.
    """
    order = _parse(params)
    if isinstance(order, Generation):
        _check_generation(order.artifact, prompt_tokens, cache_salt, wants_prompt_logprobs)
    elif order is None and not serve_base:
        got = f"no kv_transfer_params.{KEY}"
        raise PluginError("request", "a request that names an artifact", got, "name one, or set serve_base")
    elif cache_salt is not None and _SHA256.fullmatch(cache_salt):
        got = "a request without a prefix whose cache_salt has the form of one's sha256"
        raise PluginError("request", "cached blocks of each artifact for its own requests only", got, "omit cache_salt")
    return order


def _parse(params: Mapping[str, Any] | None) -> Order | None:
    fields = (params or {}).get(KEY)
    if fields is None:
        return None
    if not isinstance(fields, Mapping):
        raise PluginError("request", f"an object as kv_transfer_params.{KEY}", type(fields).__name__, _FIX)
    values = dict(fields)
    try:
        if "load" in values:
            load = _Load.model_validate(values)
            return Load(load.load, bool(load.pinned))
        if "drop" in values:
            return Drop(tuple(_Drop.model_validate(values).drop))
        if "status" in values:
            return Status(tuple(_Status.model_validate(values).status))
        return Generation(ArtifactRef.model_validate(values))
    except ValidationError as problems:
        first = problems.errors()[0]
        name = ".".join(map(str, (KEY, *first["loc"])))
        got = f"no {name}" if first["type"] == "missing" else f"{name} = {first['input']!r}"
        raise PluginError("request", f"valid kv_transfer_params ({first['msg']})", got, _FIX) from None


def _check_generation(
    artifact: ArtifactRef, prompt_tokens: int | None, cache_salt: str | None, wants_prompt_logprobs: bool
) -> None:
    if prompt_tokens is None:
        wanted = f"a prompt of token ids that begins with {artifact.length} placeholders"
        raise PluginError("request", wanted, "a prompt of text", _FIX)
    if prompt_tokens <= artifact.length:
        wanted = f"{artifact.length} placeholders and then at least one token"
        raise PluginError("request", wanted, f"{prompt_tokens} tokens", _FIX)
    if cache_salt != artifact.sha256:
        got = "no cache_salt" if cache_salt is None else "another cache_salt"
        fix = "set it, so that cached blocks of two artifacts are never confused"
        raise PluginError("request", "cache_salt = the artifact's sha256", got, fix)
    if wants_prompt_logprobs:
        got = "prompt_logprobs, or echo with logprobs"
        raise PluginError("request", "no log probabilities of the prompt", got, "omit them: placeholders have none")
