"""The endpoint /v1/completions: prompts or records become rows, and rows become choices.

A version that was trained on conversations reads each prompt as a message of the user. Does not know the service, API
keys or HTTP.
"""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel

from components.config import Params
from components.data.linearization import DEFAULT_FORM, linearize_record
from components.registry.mlflow.versions import Version, reads_conversations
from components.serving.errors import RefusalError
from components.serving.http.answer_form import AnswerForm, AnswerStamp
from components.serving.http.conversations import write_conversation
from components.serving.http.generation_settings import check_at_most, make_settings
from components.serving.http.openai import Choice, Completion, CompletionRequest, to_logprobs
from components.serving.http.openai_fields import Usage
from components.serving.interface import AnswerPiece, GenerationRequest, Token
from components.serving.request_sequences import SequenceResult


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


class CompletionForm(AnswerForm):
    """A completion."""

    id_start = "cmpl-"

    def __init__(self, body: CompletionRequest) -> None:
        self._body = body

    @property
    def body(self) -> CompletionRequest:
        """See `AnswerForm.body`."""
        return self._body

    def make_rows(self, version: Version, params: Params) -> list[GenerationRequest]:
        """See `AnswerForm.make_rows`."""
        sources, samples = to_sources(self.body, version.tags.get("record_form", "")), self.body.n or 1
        access = params.access
        check_at_most(access.max_rows, len(sources) * samples, "rows (prompts times n)", "send several requests")
        check_at_most(access.max_prompt_chars, max(map(len, sources)), "characters in a prompt", "shorten the prompt")
        settings = make_settings(self.body, version, params)
        if reads_conversations(version):
            settings = replace(settings, is_chat=True)
            sources = [write_conversation([{"role": "user", "content": source}]) for source in sources]
        return [
            replace(settings, source=source, sample_index=sample) for source in sources for sample in range(samples)
        ]

    def write_answer(
        self, stamp: AnswerStamp, results: Sequence[SequenceResult], tokens: Sequence[Sequence[Token]], usage: Usage
    ) -> BaseModel:
        """See `AnswerForm.write_answer`."""
        choices = [
            Choice(
                text=result.text,
                index=index,
                logprobs=to_logprobs(own, self.body.logprobs),
                finish_reason=result.finish,
            )
            for index, (result, own) in enumerate(zip(results, tokens, strict=True))
        ]
        return _write(stamp, choices, usage)

    def write_piece(self, stamp: AnswerStamp, index: int, piece: AnswerPiece) -> list[BaseModel]:
        """See `AnswerForm.write_piece`."""
        logprobs = to_logprobs(piece.tokens, self.body.logprobs)
        return [_write(stamp, [Choice(text=piece.text, index=index, logprobs=logprobs, finish_reason=piece.finish)])]

    def write_usage(self, stamp: AnswerStamp, usage: Usage) -> BaseModel:
        """See `AnswerForm.write_usage`."""
        return _write(stamp, [], usage)


def _write(stamp: AnswerStamp, choices: list[Choice], usage: Usage | None = None) -> Completion:
    return Completion(id=stamp.id, created=stamp.created, model=stamp.model, choices=choices, usage=usage)
