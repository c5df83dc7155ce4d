"""Choose the next token of every row by the settings of its request, with log probabilities if requested.

A row gets the token that `components.model.decoding` would choose for it alone: the same controls, and random numbers
from its own seed. Knows logits and requests; does not know models.

Shapes: R rows, V vocabulary, F ids that the base forces at a row's limit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

import torch
from torch import Tensor

from components.errors import PrefixFleetError
from components.model.base.load import Base
from components.model.decoding.controls import DecodingControls, LogitsController, RowGenerators
from components.model.decoding.search import find_forced_eos_ids
from components.model.decoding.top_candidates import compute_log_sum_exp, find_likeliest_tokens, find_top_candidates
from components.serving.engine.sequence import EngineSequence
from components.serving.engine.step_errors import make_nonfinite_error
from components.serving.interface import GenerationRequest

_CONTROLLER_CACHE_SIZE = 256
_SamplingControls = tuple[float, float, int]
"""Temperature, top_p, top_k."""


@dataclass(frozen=True, slots=True)
class SampledToken:
    """One row's next token, with log probabilities if they were requested."""

    token_id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


def make_draws(request: GenerationRequest) -> RowGenerators | None:
    """Return a row's random numbers, the same as those of row `sample_index` in `generate_each` with its seed."""
    return RowGenerators(request.seed, [(request.sample_index, 0)]) if request.temperature else None


class Sampler:
    """Chooses tokens for one base."""

    def __init__(self, base: Base) -> None:
        """Read from the base which ids it forces at a row's limit."""
        vocabulary_size = base.model.get_output_embeddings().weight.shape[0]
        self._forced_id_F = find_forced_eos_ids(base)
        self._make_controller: Callable[[_SamplingControls], LogitsController] = lru_cache(_CONTROLLER_CACHE_SIZE)(
            lambda controls: LogitsController(
                DecodingControls(temperature=controls[0], top_p=controls[1], top_k=controls[2]),
                base.tokenizer,
                base.eos_id,
                vocabulary_size,
            )
        )

    def sample(self, logits_RV: Tensor, rows: Sequence[EngineSequence]) -> list[SampledToken | PrefixFleetError]:
        """Return one token for each row, or an error for a row whose logits are not finite or that cannot go on.

        The log probabilities are those of the model, before any control.
        """
        model_logits_RV = logits_RV.float()
        logits_RV, errors = _apply_rules(model_logits_RV, rows)
        logits_RV = self._force_final_tokens(logits_RV, rows)
        token_R = find_likeliest_tokens(logits_RV)
        max_R = logits_RV.gather(1, token_R[:, None])[:, 0]
        for controls, numbers in _group_by_controls(rows).items():
            draws = RowGenerators(0, [])
            for number in numbers:
                draws.join(rows[number].draws or RowGenerators(0, []))
            index = torch.tensor(numbers, device=logits_RV.device)
            token_R[index] = self._make_controller(controls).choose_tokens(logits_RV[index], draws)
        finite = [isfinite(value) for value in max_R.tolist()]
        results: list[SampledToken | PrefixFleetError] = [
            SampledToken(token) if is_finite else make_nonfinite_error()
            for token, is_finite in zip(token_R.tolist(), finite, strict=True)
        ]
        for number, row in enumerate(rows):
            if row.request.logprobs is not None and finite[number]:
                results[number] = _add_logprobs(model_logits_RV[number], int(token_R[number]), row.request.logprobs)
        return [errors.get(number, result) for number, result in enumerate(results)] if errors else results

    def _force_final_tokens(self, logits_RV: Tensor, rows: Sequence[EngineSequence]) -> Tensor:
        if self._forced_id_F is None or not any(row.is_last_token for row in rows):
            return logits_RV
        forced_V = torch.full_like(logits_RV[0], -torch.inf).index_fill(0, self._forced_id_F, 0.0)
        is_last_R = torch.tensor([row.is_last_token for row in rows], device=logits_RV.device)
        return torch.where(is_last_R[:, None], forced_V, logits_RV)


def _apply_rules(logits_RV: Tensor, rows: Sequence[EngineSequence]) -> tuple[Tensor, dict[int, PrefixFleetError]]:
    """Return the logits under the rows' rules, and the errors of rows that no token can continue."""
    errors: dict[int, PrefixFleetError] = {}
    numbers = [number for number, row in enumerate(rows) if row.rules is not None]
    if not numbers:
        return logits_RV, errors
    logits_RV = logits_RV.clone()
    for number in numbers:
        rules, grammar, history = rows[number].rules, rows[number].grammar, rows[number].detokenizer.token_ids
        if rules is not None:
            logits_RV[number] = rules.apply(logits_RV[number], history)
        if grammar is not None and bool(logits_RV[number].amax().isfinite()):
            try:
                logits_RV[number] = grammar.mask_logits(logits_RV[number], history)
            except PrefixFleetError as problem:
                errors[number] = problem
    return logits_RV, errors


def _group_by_controls(rows: Sequence[EngineSequence]) -> dict[_SamplingControls, list[int]]:
    groups: dict[_SamplingControls, list[int]] = {}
    for number, row in enumerate(rows):
        if row.draws is not None:
            request = row.request
            groups.setdefault((request.temperature, request.top_p, request.top_k), []).append(number)
    return groups


def _add_logprobs(logits_V: Tensor, token: int, count: int) -> SampledToken:
    total = float(compute_log_sum_exp(logits_V[None]))
    alternatives: tuple[tuple[int, float], ...] = ()
    if count:
        values, ids = find_top_candidates(logits_V[None], min(count, len(logits_V)))
        pairs = zip(ids[0].tolist(), values[0].tolist(), strict=True)
        alternatives = tuple((token_id, value - total) for token_id, value in pairs)
    return SampledToken(token, float(logits_V[token]) - total, alternatives)
