"""The next token of every row, each as its own request asks, and how likely it was.

A row's token is what `components.model.decoding` would choose for it alone: the same controls, and draws of its own
seed. Knows logits and requests; does not know models.

Shapes: R rows, V vocabulary, F ids that end a row at its limit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

import torch
from torch import Tensor

from components.errors import BaseModelError
from components.model.base.load import Base
from components.model.decoding.controls import Controller, Controls, RowDraws
from components.model.decoding.top_candidates import likeliest, log_sum_exp
from components.serving.interface import Request

_CONTROLS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Asking:
    """What one row asks."""

    request: Request
    draws: RowDraws | None
    last: bool
    """Whether this token is the last of its limit."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One row's next token, with log probabilities where they were asked for."""

    token: int
    logprob: float | None = None
    others: tuple[tuple[int, float], ...] = ()


def draws_of(request: Request) -> RowDraws | None:
    """A row's random numbers: those of row `draw` in a call of `generate_each` with its seed."""
    return RowDraws(request.seed, [(request.draw, 0)]) if request.temperature else None


class Chooser:
    """Chooses for one base."""

    def __init__(self, base: Base) -> None:
        """Look up what the base forces at a row's limit."""
        vocabulary = base.model.get_output_embeddings().weight.shape[0]
        forced = base.model.generation_config.forced_eos_token_id
        ids = [forced] if isinstance(forced, int) else forced
        self._last_F = None if ids is None else torch.tensor(sorted(ids), device=base.device)
        self._controller: Callable[[float, float], Controller] = lru_cache(_CONTROLS_KEPT)(
            lambda temperature, top_p: Controller(
                Controls(temperature=temperature, top_p=top_p), base.tokenizer, base.eos_id, vocabulary
            )
        )

    def choose(self, logits_RV: Tensor, rows: Sequence[Asking]) -> list[Chosen | BaseModelError]:
        """One token a row; an error for a row whose logits are no numbers."""
        logits_RV = self._ended(logits_RV.float(), rows)
        most_R, token_R = logits_RV.max(dim=-1)
        for (temperature, top_p), numbers in _alike(rows).items():
            draws = RowDraws(0, [])
            for number in numbers:
                draws.join(rows[number].draws or RowDraws(0, []))
            index = torch.tensor(numbers, device=logits_RV.device)
            token_R[index] = self._controller(temperature, top_p).choose(logits_RV[index], draws)
        sound = [isfinite(most) for most in most_R.tolist()]
        chosen: list[Chosen | BaseModelError] = [
            Chosen(token) if fine else _no_number() for token, fine in zip(token_R.tolist(), sound, strict=True)
        ]
        for number, row in enumerate(rows):
            if row.request.logprobs is not None and sound[number]:
                chosen[number] = _told(logits_RV[number], int(token_R[number]), row.request.logprobs)
        return chosen

    def _ended(self, logits_RV: Tensor, rows: Sequence[Asking]) -> Tensor:
        if self._last_F is None or not any(row.last for row in rows):
            return logits_RV
        only_V = torch.full_like(logits_RV[0], -torch.inf).index_fill(0, self._last_F, 0.0)
        last_R = torch.tensor([row.last for row in rows], device=logits_RV.device)
        return torch.where(last_R[:, None], only_V, logits_RV)


def _alike(rows: Sequence[Asking]) -> dict[tuple[float, float], list[int]]:
    groups: dict[tuple[float, float], list[int]] = {}
    for number, row in enumerate(rows):
        if row.draws is not None:
            groups.setdefault((row.request.temperature, row.request.top_p), []).append(number)
    return groups


def _told(logits_V: Tensor, token: int, count: int) -> Chosen:
    whole = float(log_sum_exp(logits_V[None]))
    others: tuple[tuple[int, float], ...] = ()
    if count:
        values, ids = likeliest(logits_V[None], min(count, len(logits_V)))
        others = tuple((each, value - whole) for each, value in zip(ids[0].tolist(), values[0].tolist(), strict=True))
    return Chosen(token, float(logits_V[token]) - whole, others)


def _no_number() -> BaseModelError:
    fix = "train the tenant again, or serve the base in float32"
    return BaseModelError("logits that are numbers", "infinite ones or none under this tenant's artifact", fix)
