"""How the next tokens are chosen: the likeliest (or drawn) one, or the best of several beams. Knows logits and rows.

Rows come and go: each has a length and a limit of its own.

Shapes: B rows, K beams, R = B x K, C candidates, F ids that end a row, V vocabulary, N new tokens at most.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from components.model.decoding.controls import LogitsController, RowGenerators
from components.model.decoding.options import Decoding
from components.model.decoding.top_candidates import compute_log_sum_exp, find_top_candidates

_IMPOSSIBLE_SCORE = -1.0e9


@dataclass(frozen=True, slots=True)
class SearchRules:
    """What is the same for all rows of a call."""

    decoding: Decoding
    controller: LogitsController
    eos_id: int
    forced_eos_ids_F: Tensor | None
    """Ids with one of which a row that reaches its limit ends, where the base has such."""


@dataclass(frozen=True, slots=True)
class SearchStep:
    """What one step decided."""

    finished: Sequence[tuple[int, list[int]]]
    """Places of the rows that ended, and their new tokens without the end."""
    place_B: Tensor
    """Places of the rows that go on, in their new order."""
    parent_BK: Tensor | None
    """The beams that they go on with; None with one."""
    token_BK: Tensor
    """Their next tokens."""


class TokenSearch(Protocol):
    """What the rows of a batch have written."""

    def choose_tokens(self, logits_RV: Tensor) -> SearchStep:
        """Choose the next tokens; before the first step the logits are [B, V], one for all beams of a row."""

    def join(self, other: Self) -> None:
        """Take in another's rows, behind these."""


class SingleSequenceSearch:
    """The likeliest or drawn token at every step."""

    def __init__(self, rules: SearchRules, limits: Sequence[int], numbers: Sequence[int], device: torch.device) -> None:
        """Start rows with these limits, whose draws follow from their `numbers`."""
        self.rules = rules
        self.limit_B = torch.tensor(limits, device=device)
        self.length_B = torch.zeros_like(self.limit_B)
        self.text_BN = _make_blank_texts(rules, len(limits), device=device)
        seed, drawn = rules.decoding.seed, rules.decoding.temperature > 0
        self.generators = RowGenerators(seed, [(number, 0) for number in numbers]) if drawn else None

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
        goes_B = (token_B != rules.eos_id) & ~ends_B
        place_B = _find_continuing_rows(goes_B)
        done = _collect_finished(~goes_B, self.text_BN, rules.eos_id)
        if done:
            self.limit_B, self.length_B = self.limit_B[place_B], self.length_B[place_B]
            self.text_BN = self.text_BN[place_B]
            if self.generators is not None:
                self.generators.keep(place_B)
        return SearchStep(done, place_B, None, token_B[place_B, None])

    def join(self, other: Self) -> None:
        """See `TokenSearch.join`."""
        for name in ("limit_B", "length_B", "text_BN"):
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))
        if self.generators is not None and other.generators is not None:
            self.generators.join(other.generators)


class BeamSearch:
    """The best of K beams by transformers' rules with `early_stopping=False`.

    A row is done when its best running beam could not beat its worst finished one at the present length, or when its
    limit is reached.
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
        place_BC1 = (self.length_B[:, None, None] - 1).expand(-1, 2 * beams, 1)
        text_BCN = _gather_beams(self.text_BKN, parent_BC).scatter(2, place_BC1, token_BC[:, :, None])
        ends_BC = (token_BC == eos) | limited_B1

        final_BC = candidate_BC / divisor_B1 + ~(ends_BC & self.counts_C) * _IMPOSSIBLE_SCORE
        finished_score_BK, choice_BK = torch.cat([self.finished_score_BK, final_BC], dim=1).topk(beams)
        finished_BKN = _gather_beams(torch.cat([self.finished_BKN, text_BCN], dim=1), choice_BK)
        is_finished_BK = torch.cat([self.is_finished_BK, ends_BC & self.counts_C], dim=1).gather(1, choice_BK)

        score_BK, choice_BK = (candidate_BC + ends_BC * _IMPOSSIBLE_SCORE).topk(beams)
        hope_B1 = score_BK[:, :1] / divisor_B1
        worst_BK = torch.where(is_finished_BK, finished_score_BK.amin(dim=1, keepdim=True), _IMPOSSIBLE_SCORE)
        goes_B = (hope_B1 > worst_BK).any(dim=1) & ~ends_BC.all(dim=1)

        place_B = _find_continuing_rows(goes_B)
        done = _collect_finished(~goes_B, finished_BKN[:, 0], eos)
        choice_BK = choice_BK[place_B]
        token_BK, parent_BK = token_BC[place_B].gather(1, choice_BK), parent_BC[place_B].gather(1, choice_BK)
        self.text_BKN, self.score_BK = _gather_beams(text_BCN[place_B], choice_BK), score_BK[place_B]
        self.finished_BKN, self.finished_score_BK = finished_BKN[place_B], finished_score_BK[place_B]
        self.is_finished_BK = is_finished_BK[place_B]
        self.limit_B, self.length_B = self.limit_B[place_B], self.length_B[place_B]
        return SearchStep(done, place_B, parent_BK, token_BK)

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
        """Log probabilities and ids [B, K, C] of every beam's likeliest tokens."""
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
    """The controller's logits, for rows of several lengths."""
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


def _find_continuing_rows(goes_B: Tensor) -> Tensor:
    """The places of rows that go on; the last of them fill the gaps, so that few change their place."""
    going = goes_B.nonzero()[:, 0]
    place_B = torch.arange(len(going), device=goes_B.device)
    gaps = (~goes_B[: len(going)]).nonzero()[:, 0]
    place_B[gaps] = going[len(going) - len(gaps) :]
    return place_B


def _collect_finished(ends_B: Tensor, text_BN: Tensor, eos: int) -> list[tuple[int, list[int]]]:
    places = ends_B.nonzero()[:, 0]
    texts = text_BN[places].tolist()
    return [
        (place, ids[: ids.index(eos)] if eos in ids else ids) for place, ids in zip(places.tolist(), texts, strict=True)
    ]


def _gather_beams(text_BKN: Tensor, index_BC: Tensor) -> Tensor:
    return text_BKN.gather(1, index_BC[:, :, None].expand(-1, -1, text_BKN.shape[2]))
