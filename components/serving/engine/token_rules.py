"""Change a row's logits before a token is chosen: the controls of the tenant's evaluation and those of the request.

The controls of the evaluation are those of `components.model.decoding`, so that a row gets the text that it was judged
by. Rows without any control have no rules and cost nothing. Knows logits and requests; does not know batches or caches.

Shapes: R rows with histories of the same length, V vocabulary, N new tokens so far, B biased tokens.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from components.errors import ConfigError
from components.model.base.load import Base
from components.model.decoding import Decoding
from components.model.decoding.controls import DecodingControls, LogitsController
from components.serving.engine.schema_checks import SchemaChecker
from components.serving.engine.source_encoder import SourceEncoder
from components.serving.interface import GenerationRequest, TokenControls

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from components.serving.engine.grammar import Grammar, GrammarCompiler

_CACHED_CONTROLLERS = 64
_NO_CONTROLS = TokenControls()


class TokenRules:
    """The rules of a request's rows."""

    def __init__(
        self,
        controls: TokenControls,
        controller: LogitsController,
        device: torch.device,
        matcher: "LLMatcher | None" = None,
    ) -> None:
        """`controller` applies the controls of the evaluation; `matcher` is of the request's schema, if it has one."""
        self.controller, self._matcher = controller, matcher
        self._presence, self._frequency = controls.presence_penalty, controls.frequency_penalty
        self._bias_B = torch.tensor([value for _, value in controls.logit_bias], device=device)
        self._biased_id_B = torch.tensor([token for token, _ in controls.logit_bias], dtype=torch.long, device=device)

    def make_grammar(self, stop_ids: Sequence[int]) -> "Grammar | None":
        """Return the grammar of a row that these ids end; None if the request has no schema."""
        if self._matcher is None:
            return None
        from components.serving.engine.grammar import Grammar

        return Grammar(self._matcher.deep_copy(), stop_ids)

    def apply(self, logits_V: Tensor, history: Sequence[int]) -> Tensor:
        """Return the row's logits under all rules; `history` are its new tokens so far."""
        history_1N = torch.tensor([list(history)], dtype=torch.long, device=logits_V.device)
        logits_1V = self.apply_own(logits_V[None], history_1N)
        return self.controller.process_logits(logits_1V, history_1N, len(history))[0]

    def apply_own(self, logits_RV: Tensor, history_RN: Tensor) -> Tensor:
        """Return the logits under the request's own rules: bias and OpenAI's two penalties."""
        if len(self._bias_B):
            logits_RV = logits_RV.index_add(1, self._biased_id_B, self._bias_B.expand(len(logits_RV), -1))
        if (self._presence or self._frequency) and history_RN.shape[1]:
            count_RV = torch.zeros_like(logits_RV).scatter_add_(
                1, history_RN, torch.ones_like(history_RN).to(logits_RV)
            )
            logits_RV = logits_RV - self._frequency * count_RV - self._presence * (count_RV > 0)
        return logits_RV


class TokenRulesMaker:
    """Makes the rules of rows for one base; use it from one event loop."""

    def __init__(self, base: Base, encoder: SourceEncoder, schemas: SchemaChecker) -> None:
        """`encoder` has a thread in which a vocabulary is searched for banned texts, and a tokenizer of its own."""
        self._base, self._encoder, self._schemas = base, encoder, schemas
        self._vocabulary_size = base.model.get_output_embeddings().weight.shape[0]
        self._get_controller = lru_cache(_CACHED_CONTROLLERS)(self._make_controller)

    async def make(self, request: GenerationRequest) -> TokenRules | None:
        """Return the rules of a request's rows; None: they have none, and no beams.

        Raises:
            ConfigError: a value is out of range, there is no such token, or the schema is invalid or too much work.
            BusyError: too many sources, requests or schemas wait.
        """
        controls = request.controls
        if controls == _NO_CONTROLS and request.num_beams == 1:
            return None
        if unknown := [token for token, _ in controls.logit_bias if not 0 <= token < self._vocabulary_size]:
            wanted = f"logit_bias: token ids from 0 to {self._vocabulary_size - 1}"
            raise ConfigError(wanted, str(unknown[0]), "correct logit_bias")
        decoding_controls = to_decoding_controls(request)
        if controls.banned:
            tenant = request.artifact.tenant
            controller = await self._encoder.run(lambda: self._get_controller(decoding_controls), tenant)
        else:
            controller = self._get_controller(decoding_controls)
        matcher = None
        if controls.json_schema:
            tenant = request.artifact.tenant
            await self._schemas.check(controls.json_schema, tenant)
            matcher = await self._encoder.run(lambda: self._compiler.compile(controls.json_schema), tenant)
        return TokenRules(controls, controller, self._base.device, matcher)

    @cached_property
    def _compiler(self) -> "GrammarCompiler":
        from components.serving.engine.grammar import GrammarCompiler  # llguidance, which few requests need

        return GrammarCompiler(self._encoder.threads_base)

    def _make_controller(self, controls: DecodingControls) -> LogitsController:
        tokenizer = self._encoder.threads_base.tokenizer
        return LogitsController(controls, tokenizer, self._base.eos_id, self._vocabulary_size)


def to_decoding_controls(request: GenerationRequest) -> DecodingControls:
    """Return the controls of the evaluation, without those of sampling. Raises ConfigError: a value out of range."""
    controls = request.controls
    return DecodingControls(
        min_new_tokens=controls.min_new_tokens,
        repetition_penalty=controls.repetition_penalty,
        no_repeat_ngram=controls.no_repeat_ngram,
        banned=controls.banned,
    )


def to_decoding(request: GenerationRequest) -> Decoding:
    """Return the request's settings as those of the evaluation. Raises ConfigError: a value out of range."""
    controls = request.controls
    return Decoding(
        num_beams=request.num_beams,
        max_new_tokens=request.max_tokens,
        min_new_tokens=min(controls.min_new_tokens, request.max_tokens),
        length_penalty=request.length_penalty,
        banned=controls.banned,
        repetition_penalty=controls.repetition_penalty,
        no_repeat_ngram=controls.no_repeat_ngram,
        guidance=request.guidance,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        seed=request.seed,
    )
