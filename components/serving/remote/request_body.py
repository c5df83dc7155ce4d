"""The body of a request to vLLM for one row, and what such a request cannot say.

Knows requests and vLLM's fields; does not know HTTP. Fields: `integrations/vllm/README.md` and vLLM's protocol.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.config.serve import find_unsupported
from components.model.decoding import DecodeRequest
from components.serving.errors import UnsupportedRequestError
from components.serving.interface import ArtifactRef, GenerationRequest

KEY = "prefixfleet"
"""Of the artifact in `kv_transfer_params`."""
PLACEHOLDER_ID = 0
"""Stands for one slot of a prefix in the prompt; no token of it is ever computed."""
_MAX_SEED = 2**63


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact where the engines read it."""

    artifact: ArtifactRef
    length: int
    """Slots of its prefix."""
    address: str
    """Of its folder in the engines' store."""
    lora_rank: int = 0
    """Of a LoRA artifact; 0: it is a prefix."""

    def describe(self) -> dict[str, Any]:
        """Return the artifact as the plugin takes it."""
        what = {"method": "lora"} if self.lora_rank else {"length": self.length}
        return {
            "sha256": self.artifact.sha256,
            "tenant": self.artifact.tenant,
            **what,
            "address": self.address,
        }


def check_supported(request: GenerationRequest) -> None:
    """Raise UnsupportedRequestError for settings that vLLM does not have, or means otherwise."""
    controls = request.controls
    decoding = {
        "guidance": request.guidance,
        "num_beams": request.num_beams,
        "repetition_penalty": controls.repetition_penalty,
        "no_repeat_ngram": controls.no_repeat_ngram,
        "banned": list(controls.banned),
    }
    if found := find_unsupported(decoding):
        names = ", ".join(found)
        fix = (
            "leave it out, change the tenant's section evaluate and judge it again, or set serve.fallback: local or "
            "serve.engine: local"
        )
        raise UnsupportedRequestError(f"a request without {names} for the engine vllm", names, fix)


def make_body(
    request: GenerationRequest,
    decode_request: DecodeRequest,
    stored: StoredArtifact,
    stop_ids: Sequence[int],
    known: Sequence[int] = (),
) -> dict[str, Any]:
    """Return the body for one row of a request that `check_supported` accepts.

    Texts stay here: the answer comes as token ids, and stop strings are looked for where it is decoded. `known` are the
    answer's first tokens, which another engine has generated; the reply has those after them.
    """
    controls = request.controls
    body: dict[str, Any] = {
        "prompt": [*([PLACEHOLDER_ID] * stored.length), *decode_request.source, *known],
        "max_tokens": decode_request.limit - len(known),
        "min_tokens": max(0, min(controls.min_new_tokens, decode_request.limit) - len(known)),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "presence_penalty": controls.presence_penalty,
        "frequency_penalty": controls.frequency_penalty,
        "stop_token_ids": list(stop_ids),
        "ignore_eos": True,  # the base's end is among the stop ids, if it is to end this text
        "stream": True,
        "return_token_ids": True,
        "cache_salt": stored.artifact.sha256,
        "kv_transfer_params": {KEY: stored.describe()},
    }
    if request.temperature:
        body["seed"] = (request.seed + request.sample_index + len(known)) % _MAX_SEED
    if request.logprobs is not None:
        body |= {"logprobs": request.logprobs, "return_tokens_as_token_ids": True}
    if controls.logit_bias:
        body["logit_bias"] = {str(token): value for token, value in controls.logit_bias}
    if controls.json_schema:
        body["structured_outputs"] = {"json": json.loads(controls.json_schema)}
    return body
