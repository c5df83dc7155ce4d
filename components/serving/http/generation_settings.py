"""Turn a request's body into the settings of its rows: the decoding, and the limits of the tenant.

A missing field has the value with which the version was judged. Does not know prompts, API keys or HTTP.
"""

import secrets

from components.config import EvaluateConfig, Params
from components.registry.judged_decoding import compute_default_max_tokens, find_judged_decoding
from components.registry.mlflow.versions import Version
from components.serving.errors import RefusalError
from components.serving.fleet.versions import to_artifact_ref
from components.serving.http.openai_fields import GenerationBody
from components.serving.interface import GenerationRequest, TokenControls


def make_settings(body: GenerationBody, version: Version, params: Params) -> GenerationRequest:
    """Return a row without a source; `params` are the tenant's.

    Raises:
        RefusalError: 400, more tokens than the tenant's `access` section allows, more beams than the version was judged
            with, or log probabilities of a beam search.
    """
    judged = find_judged_decoding(version, params)
    max_tokens = compute_default_max_tokens(version, params) if body.token_limit is None else body.token_limit
    check_at_most(params.access.max_tokens, max_tokens, "max_tokens", "lower max_tokens")
    num_beams, schema = _choose_beams(body, judged), body.schema_text
    temperature = 0.0 if num_beams > 1 else judged.temperature
    return GenerationRequest(
        artifact=to_artifact_ref(version),
        source="",
        max_tokens=max_tokens,
        temperature=temperature if body.temperature is None else body.temperature,
        top_p=judged.top_p if body.top_p is None else body.top_p,
        top_k=judged.top_k,
        num_beams=num_beams,
        length_penalty=judged.length_penalty,
        stop=body.stop_strings,
        seed=secrets.randbits(63) if body.seed is None else body.seed,
        logprobs=body.wanted_logprobs,
        guidance=judged.guidance if body.guidance is None else body.guidance,
        controls=TokenControls(
            min_new_tokens=0 if schema else judged.min_new_tokens,
            repetition_penalty=judged.repetition_penalty,
            no_repeat_ngram=0 if schema else judged.no_repeat_ngram,
            banned=tuple(judged.banned),
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias=tuple((int(token), value) for token, value in (body.logit_bias or {}).items()),
            json_schema=schema,
        ),
        is_streamed=bool(body.stream),
    )


def check_at_most(limit: int, got: int, what: str, fix: str) -> None:
    """Refuse a number above a limit. Raises RefusalError: 400."""
    if got > limit:
        raise RefusalError(400, f"at most {limit} {what}", str(got), fix, code="too_large")


def _choose_beams(body: GenerationBody, judged: EvaluateConfig) -> int:
    num_beams = judged.num_beams if body.num_beams is None else body.num_beams
    check_at_most(judged.num_beams, num_beams, "num_beams (those of the tenant's evaluation)", "lower num_beams")
    if body.temperature or body.schema_text:
        return 1
    if num_beams > 1 and body.wanted_logprobs is not None:
        got, fix = f"{num_beams} beams and logprobs", "send num_beams: 1, or no logprobs"
        raise RefusalError(400, "logprobs without a beam search", got, fix, code="invalid_parameter")
    return num_beams
