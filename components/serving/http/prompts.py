"""Turn the body of a completion into rows for the engine: its sources. Does not know API keys or HTTP."""

from dataclasses import replace

from components.config import Params
from components.data.linearization import DEFAULT_FORM, linearize_record
from components.registry.mlflow.versions import Version
from components.serving.errors import RefusalError
from components.serving.http.generation_settings import check_at_most, make_settings
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
    sources, samples = to_sources(body, version.tags.get("record_form", "")), body.n or 1
    access = params.access
    check_at_most(access.max_rows, len(sources) * samples, "rows (prompts times n)", "send several requests")
    check_at_most(access.max_prompt_chars, max(map(len, sources)), "characters in a prompt", "shorten the prompt")
    settings = make_settings(body, version, params)
    return [replace(settings, source=source, sample_index=sample) for source in sources for sample in range(samples)]
