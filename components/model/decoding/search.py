"""Choose the next tokens: the likeliest, a sampled one, or those of the best beams. Knows logits; not models or caches.

Rows join and leave a search; each has its own length and limit.

Shapes: B rows, K beams, R = B x K, C candidates, F ids that end a row, V vocabulary, N new tokens at most.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from components.model.base.load import Base
from components.model.decoding.controls import LogitsController, RowGenerators
from components.model.decoding.options import Decoding
from components.model.decoding.top_candidates import compute_log_sum_exp, find_top_candidates

_IMPOSSIBLE_SCORE = -1.0e9


def find_forced_eos_ids(base: Base) -> Tensor | None:
    """Return the ids with which the base ends a row at its limit [F]; None: it forces none."""
    forced = base.model.generation_config.forced_eos_token_id
    ids = [forced] if isinstance(forced, int) else forced
    return None if ids is None else torch.tensor(sorted(ids), device=base.device)


@dataclass(frozen=True, slots=True)
class SearchRules:
    """The rules that all rows of a call share."""

    decoding: Decoding
    controller: LogitsController
    eos_id: int
    forced_eos_ids_F: Tensor | None
    """A row that reaches its limit must end with one of these ids; None if the base forces none."""


@dataclass(frozen=True, slots=True)
class SearchStep:
    """The decisions of one step."""

    finished: Sequence[tuple[int, list[int]]]
    """Index and new tokens, without end-of-text, of each finished row."""
    kept_B: Tensor
    """Indices of the rows that continue, in their new order."""
    parent_BK: Tensor | None
    """Indices of the beams that they continue from; None without beam search."""
    token_BK: Tensor
    """The next tokens of the rows that continue."""


class TokenSearch(Protocol):
    """The new tokens of a batch's rows."""

    def choose_tokens(self, logits_RV: Tensor) -> SearchStep:
        """Choose the next tokens. At the first call the logits are [B, V]: the beams of a row share them."""

    def join(self, other: Self) -> None:
        """Append the rows of `other`."""


class SingleSequenceSearch:
    """One sequence per row: the likeliest token at every step, or a sampled one."""

    def __init__(self, rules: SearchRules, limits: Sequence[int], numbers: Sequence[int], device: torch.device) -> None:
        """Start rows with these limits; `numbers` decide their samples."""
        self.rules = rules
        self.limit_B = torch.tensor(limits, device=device)
        self.length_B = torch.zeros_like(self.limit_B)
        self.text_BN = _make_blank_texts(rules, len(limits), device=device)
        seed, is_sampled = rules.decoding.seed, rules.decoding.temperature > 0
        self.generators = RowGenerators(seed, [(number, 0) for number in numbers]) if is_sampled else None

    def choose_tokens(self, logits_RV: Tensor) -> SearchStep:
        """See `TokenSearch.choose_tokens`."""
        rules = self.rules
        logits_BV = _process_logits(rules.controller, logits_RV.float(), self.text_BN, self.length_B)
        ends_B = self.length_B + 1 >= self.limit_B
        if rules.forced_eos_ids_F is not None:
            only_V = torch.full_like(logits_BV[0], -math.inf).index_fill(0, rules.forced_eos_ids_F, 0.0)
            logits_BV = torch.where(ends_B[:, None], only_V, logits_BV)
        token_B = rules.controller.choose_tokens(logits_BV, self.generators)
        self.text_BN.scatter_(1, self.length_B[:, None], token_B[:, None])
        self.length_B = self.length_B + 1
        continues_B = (token_B != rules.eos_id) & ~ends_B
        kept_B = _find_continuing_rows(continues_B)
        done = _collect_finished(~continues_B, self.text_BN, rules.eos_id)
        if done:
            self.limit_B, self.length_B = self.limit_B[kept_B], self.length_B[kept_B]
            self.text_BN = self.text_BN[kept_B]
            if self.generators is not None:
                self.generators.keep(kept_B)
        return SearchStep(done, kept_B, None, token_B[kept_B, None])

    def join(self, other: Self) -> None:
        """See `TokenSearch.join`."""
        for name in ("limit_B", "length_B", "text_BN"):
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))
        if self.generators is not None and other.generators is not None:
            self.generators.join(other.generators)


class BeamSearch:
    """The best of K beams by the rules of transformers with `early_stopping=False`.

    A row is finished when its best running beam, at its present length, scores no higher than its worst finished beam,
    or when it reaches its limit.
    """

    def __init__(self, rules: SearchRules, limits: Sequence[int], device: torch.device) -> None:
        """Start rows with these limits."""
        self.rules, self.beams = rules, rules.decoding.num_beams
        rows, beams, longest = len(limits), self.beams, rules.decoding.max_new_tokens
        self.limit_B = torch.tensor(limits, device=device)
        self.length_B = torch.zeros_like(self.limit_B)
        self.text_BKN = _make_blank_texts(rules, rows, beams, device=device)
        self.score_BK = torch.zeros(rows, beams, device=device)
        self.score_BK[:, 1:] = _IMPOSSIBLE_SCORE
        self.finished_BKN = self.text_BKN
        self.finished_score_BK = torch.full((rows, beams), _IMPOSSIBLE_SCORE, device=device)
        self.is_finished_BK = torch.zeros(rows, beams, dtype=torch.bool, device=device)
        penalty = rules.decoding.length_penalty
        self.divisor_N = torch.tensor([1.0, *(number**penalty for number in range(1, longest + 1))], device=device)
        self.counts_C = torch.arange(2 * beams, device=device) < beams

    def choose_tokens(self, logits_RV: Tensor) -> SearchStep:
        """See `TokenSearch.choose_tokens`."""
        beams, eos = self.beams, self.rules.eos_id
        value_BKC, each_BKC = self._find_candidates(logits_RV)
        self.length_B = self.length_B + 1
        limited_B1, divisor_B1 = (self.limit_B <= self.length_B)[:, None], self.divisor_N[self.length_B][:, None]
        candidate_BC, flat_BC = (value_BKC + self.score_BK[:, :, None]).flatten(1).topk(2 * beams)
        token_BC, parent_BC = each_BKC.flatten(1).gather(1, flat_BC), flat_BC // value_BKC.shape[2]
        column_BC1 = (self.length_B[:, None, None] - 1).expand(-1, 2 * beams, 1)
        text_BCN = _gather_beams(self.text_BKN, parent_BC).scatter(2, column_BC1, token_BC[:, :, None])
        ends_BC = (token_BC == eos) | limited_B1

        final_BC = candidate_BC / divisor_B1 + ~(ends_BC & self.counts_C) * _IMPOSSIBLE_SCORE
        finished_score_BK, choice_BK = torch.cat([self.finished_score_BK, final_BC], dim=1).topk(beams)
        finished_BKN = _gather_beams(torch.cat([self.finished_BKN, text_BCN], dim=1), choice_BK)
        is_finished_BK = torch.cat([self.is_finished_BK, ends_BC & self.counts_C], dim=1).gather(1, choice_BK)

        score_BK, choice_BK = (candidate_BC + ends_BC * _IMPOSSIBLE_SCORE).topk(beams)
        best_B1 = score_BK[:, :1] / divisor_B1
        worst_BK = torch.where(is_finished_BK, finished_score_BK.amin(dim=1, keepdim=True), _IMPOSSIBLE_SCORE)
        continues_B = (best_B1 > worst_BK).any(dim=1) & ~ends_BC.all(dim=1)

        kept_B = _find_continuing_rows(continues_B)
        done = _collect_finished(~continues_B, finished_BKN[:, 0], eos)
        choice_BK = choice_BK[kept_B]
        token_BK, parent_BK = token_BC[kept_B].gather(1, choice_BK), parent_BC[kept_B].gather(1, choice_BK)
        self.text_BKN, self.score_BK = _gather_beams(text_BCN[kept_B], choice_BK), score_BK[kept_B]
        self.finished_BKN, self.finished_score_BK = finished_BKN[kept_B], finished_score_BK[kept_B]
        self.is_finished_BK = is_finished_BK[kept_B]
        self.limit_B, self.length_B = self.limit_B[kept_B], self.length_B[kept_B]
        return SearchStep(done, kept_B, parent_BK, token_BK)

    def join(self, other: Self) -> None:
        """See `TokenSearch.join`."""
        for name in (
            "text_BKN",
            "score_BK",
            "finished_BKN",
            "finished_score_BK",
            "is_finished_BK",
            "limit_B",
            "length_B",
        ):
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))

    def _find_candidates(self, logits_RV: Tensor) -> tuple[Tensor, Tensor]:
        """Return log probabilities and ids [B, K, C] of every beam's likeliest tokens."""
        rows, rules = len(self.limit_B), self.rules
        times = len(logits_RV) // rows
        count = min(2 * self.beams, logits_RV.shape[1])
        if rules.controller.is_inactive:
            value_RC, token_RC = find_top_candidates(logits_RV, count)
            value_RC = value_RC - compute_log_sum_exp(logits_RV)[:, None]
        else:
            length_R = self.length_B.repeat_interleave(times)
            history_RN = self.text_BKN[:, :times].flatten(0, 1)
            logits_RV = logits_RV.float().log_softmax(dim=-1)
            logits_RV = _process_logits(rules.controller, logits_RV, history_RN, length_R)
            value_RC, token_RC = find_top_candidates(logits_RV, count)
        value_BKC, token_BKC = value_RC.view(rows, times, count), token_RC.view(rows, times, count)
        if rules.forced_eos_ids_F is not None:
            ends_B11 = (self.length_B + 1 >= self.limit_B)[:, None, None]
            last_C = rules.forced_eos_ids_F[
                torch.arange(count, device=logits_RV.device).clamp(max=len(rules.forced_eos_ids_F) - 1)
            ]
            only_C = value_BKC.new_zeros(count)
            only_C[len(rules.forced_eos_ids_F) :] = -math.inf
            value_BKC = torch.where(ends_B11, only_C, value_BKC)
            token_BKC = torch.where(ends_B11, last_C, token_BKC)
        return value_BKC.expand(-1, self.beams, -1), token_BKC.expand(-1, self.beams, -1)


def _make_blank_texts(rules: SearchRules, *shape: int, device: torch.device) -> Tensor:
    return torch.full((*shape, rules.decoding.max_new_tokens), rules.eos_id, device=device)


def _process_logits(controller: LogitsController, logits_RV: Tensor, history_RN: Tensor, length_R: Tensor) -> Tensor:
    """Apply the controller to rows of different lengths."""
    if controller.is_inactive:
        return logits_RV
    lengths = torch.unique(length_R).tolist()
    if len(lengths) == 1:
        return controller.process_logits(logits_RV, history_RN, lengths[0])
    shaped_RV = torch.empty_like(logits_RV)
    for length in lengths:
        same = (length_R == length).nonzero()[:, 0]
        shaped_RV[same] = controller.process_logits(logits_RV[same], history_RN[same], length)
    return shaped_RV


def _find_continuing_rows(continues_B: Tensor) -> Tensor:
    """Indices of the rows that continue. The last of them fill the gaps, so that few rows change their place."""
    going = continues_B.nonzero()[:, 0]
    kept_B = torch.arange(len(going), device=continues_B.device)
    gaps = (~continues_B[: len(going)]).nonzero()[:, 0]
    kept_B[gaps] = going[len(going) - len(gaps) :]
    return kept_B


def _collect_finished(ends_B: Tensor, text_BN: Tensor, eos: int) -> list[tuple[int, list[int]]]:
    indices = ends_B.nonzero()[:, 0]
    texts = text_BN[indices].tolist()
    return [
        (index, ids[: ids.index(eos)] if eos in ids else ids)
        for index, ids in zip(indices.tolist(), texts, strict=True)
    ]


def _gather_beams(text_BKN: Tensor, index_BC: Tensor) -> Tensor:
    return text_BKN.gather(1, index_BC[:, :, None].expand(-1, -1, text_BKN.shape[2]))
