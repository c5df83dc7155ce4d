"""Turn a request's body into rows for the engine: sources, decoding settings, limits.

A missing field has the value of the tenant's `evaluate` section, with which its version was evaluated. Does not know
API keys or HTTP.
"""

import secrets
from collections.abc import Sequence

from components.config import Params
from components.data.linearization import DEFAULT_FORM, linearize_record
from components.registry.mlflow.versions import Version
from components.serving.errors import RefusalError
from components.serving.fleet.versions import to_artifact_ref
from components.serving.http.openai import CompletionRequest
from components.serving.interface import GenerationRequest


def to_sources(body: CompletionRequest, form: str) -> list[str]:
    """Return the source texts; records are written in `form`.

    Raises:
        DataError: an empty record.
        RefusalError: 400, an empty prompt.
    """
    if body.input is not None:
        records = body.input if isinstance(body.input, list) else [body.input]
        return [linearize_record(record, form or DEFAULT_FORM) for record in records]
    prompts = body.prompt if isinstance(body.prompt, list) else [body.prompt or ""]
    if not all(prompt.strip() for prompt in prompts):
        raise RefusalError(400, "a prompt with text", "an empty prompt", "send text as in the tenant's data")
    return prompts


def to_requests(body: CompletionRequest, version: Version, params: Params) -> list[GenerationRequest]:
    """Return one row for each prompt and sample, the samples of a prompt side by side; `params` are the tenant's.

    Raises:
        DataError, RefusalError: an empty prompt or record, or more than the tenant's `access` section allows.
    """
    access, evaluate = params.access, params.evaluate
    sources, samples = to_sources(body, version.tags.get("record_form", "")), body.n or 1
    max_tokens = compute_default_max_tokens(params) if body.max_tokens is None else body.max_tokens
    _check_at_most(access.max_rows, len(sources) * samples, "rows (prompts times n)", "send several requests")
    _check_at_most(access.max_prompt_chars, max(map(len, sources)), "characters in a prompt", "shorten the prompt")
    _check_at_most(access.max_tokens, max_tokens, "max_tokens", "lower max_tokens")
    temperature = evaluate.temperature if body.temperature is None else body.temperature
    seed = secrets.randbits(63) if body.seed is None else body.seed
    return [
        GenerationRequest(
            artifact=to_artifact_ref(version),
            source=source,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=evaluate.top_p if body.top_p is None else body.top_p,
            stop=body.stop_strings,
            seed=seed,
            sample_index=sample,
            logprobs=body.logprobs,
            guidance=evaluate.guidance if body.guidance is None else body.guidance,
        )
        for source in sources
        for sample in range(samples)
    ]


def compute_default_max_tokens(params: Params) -> int:
    """Return the limit of an answer, in tokens, if the request has no max_tokens."""
    return min(params.evaluate.max_new_tokens, params.access.max_tokens)


def find_unsupported_settings(params: Params) -> Sequence[str]:
    """Return the names of the settings of the tenant's `evaluate` section that the server does not support."""
    settings, defaults = params.evaluate, type(params.evaluate)()
    names = ("num_beams", "min_new_tokens", "banned", "repetition_penalty", "no_repeat_ngram", "top_k")
    return [name for name in names if getattr(settings, name) != getattr(defaults, name)]


def _check_at_most(limit: int, got: int, what: str, fix: str) -> None:
    if got > limit:
        raise RefusalError(400, f"at most {limit} {what}", str(got), fix, code="too_large")
