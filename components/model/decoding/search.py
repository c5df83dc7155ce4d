"""How the next tokens are chosen: the likeliest (or drawn) one, or the best of several beams. Knows logits and rows.

Shapes: B rows of a batch that still run, F ids that end a row, K beams, C = 2K candidates, V vocabulary, N new tokens
at most.
"""

import math

import torch
from torch import Tensor

from components.model.controls import Controller, RowDraws
from components.model.decoding.runs import Run

_NEVER = -1.0e9


def one_by_one(
    run: Run,
    limit_B: Tensor,
    longest: int,
    controller: Controller,
    draws: RowDraws | None,
    eos: int,
    last_F: Tensor | None = None,
) -> Tensor:
    """The likeliest or drawn token at every step; [B, N], filled up with `eos`.

    With `last_F` a row that reaches its limit ends with one of these ids.
    """
    tokens_BN = torch.full((len(limit_B), longest), eos, device=limit_B.device)
    row_B = torch.arange(len(limit_B), device=limit_B.device)
    logits_BV = run.logits_BV
    for length in range(1, longest + 1):
        logits_BV = controller.shape(logits_BV, tokens_BN[row_B], length - 1)
        logits_BV = _ended(logits_BV, limit_B[row_B] <= length, last_F)
        token_B = controller.choose(logits_BV, draws)
        tokens_BN[row_B, length - 1] = token_B
        going = ((token_B != eos) & (limit_B[row_B] > length)).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(row_B):
            row_B, token_B = row_B[going], token_B[going]
            run.keep(going, going)
            if draws is not None:
                draws.keep(going)
        logits_BV = run.step(token_B)
    return tokens_BN


def best_beam(
    run: Run,
    limit_B: Tensor,
    longest: int,
    controller: Controller,
    beams: int,
    length_penalty: float,
    eos: int,
    last_F: Tensor | None = None,
) -> Tensor:
    """The best of K beams by transformers' rules; [B, N], filled up with `eos`. `last_F` is that of `one_by_one`.

    A row is done when its best running beam could not beat its worst finished one at the present length, as
    `early_stopping=False` has it, or when its limit is reached.
    """
    rows, device = len(limit_B), limit_B.device
    best_BN = torch.full((rows, longest), eos, device=device)
    row_B, limit_B1 = torch.arange(rows, device=device), limit_B[:, None]
    running_BKN = best_BN[:, None].repeat(1, beams, 1)
    finished_BKN = running_BKN.clone()
    score_BK = torch.zeros(rows, beams, device=device)
    score_BK[:, 1:] = _NEVER
    finished_score_BK = torch.full((rows, beams), _NEVER, device=device)
    is_finished_BK = torch.zeros(rows, beams, dtype=torch.bool, device=device)
    counts_C = torch.arange(2 * beams, device=device) < beams
    logits_BV = run.logits_BV.repeat_interleave(beams, dim=0)
    for length in range(1, longest + 1):
        shaped_BV = controller.shape(logits_BV.log_softmax(dim=-1), running_BKN.flatten(0, 1), length - 1)
        shaped_BV = _ended(shaped_BV, (limit_B1[:, 0] <= length).repeat_interleave(beams), last_F)
        candidate_BKV = shaped_BV.view(*score_BK.shape, -1) + score_BK[:, :, None]
        vocabulary = candidate_BKV.shape[2]
        candidate_BC, flat_BC = candidate_BKV.flatten(1).topk(2 * beams)
        parent_BC, token_BC = flat_BC // vocabulary, flat_BC % vocabulary
        text_BCN = _pick(running_BKN, parent_BC)
        text_BCN[:, :, length - 1] = token_BC
        ends_BC = (token_BC == eos) | (limit_B1 <= length)

        final_BC = candidate_BC / length**length_penalty + ~(ends_BC & counts_C) * _NEVER
        finished_score_BK, choice_BK = torch.cat([finished_score_BK, final_BC], dim=1).topk(beams)
        finished_BKN = _pick(torch.cat([finished_BKN, text_BCN], dim=1), choice_BK)
        is_finished_BK = torch.cat([is_finished_BK, ends_BC & counts_C], dim=1).gather(1, choice_BK)

        score_BK, choice_BK = (candidate_BC + ends_BC * _NEVER).topk(beams)
        running_BKN, parent_BK = _pick(text_BCN, choice_BK), parent_BC.gather(1, choice_BK)
        hope_B1 = score_BK[:, :1] / length**length_penalty
        worst_BK = torch.where(is_finished_BK, finished_score_BK.amin(dim=1, keepdim=True), _NEVER)
        goes_B = (hope_B1 > worst_BK).any(dim=1) & ~ends_BC.all(dim=1)

        going = goes_B.nonzero()[:, 0]
        if len(going) < len(row_B):
            best_BN[row_B[~goes_B]] = finished_BKN[~goes_B, 0]
            if not len(going):
                break
            run.keep(going, (going[:, None] * beams + torch.arange(beams, device=device)).flatten())
            row_B, limit_B1, score_BK, parent_BK = row_B[going], limit_B1[going], score_BK[going], parent_BK[going]
            running_BKN, finished_BKN = running_BKN[going], finished_BKN[going]
            finished_score_BK, is_finished_BK = finished_score_BK[going], is_finished_BK[going]
        run.reorder((torch.arange(len(row_B), device=device)[:, None] * beams + parent_BK).flatten())
        logits_BV = run.step(running_BKN[:, :, length - 1].flatten())
    return best_BN


def _ended(logits_BV: Tensor, ends_B: Tensor, last_F: Tensor | None) -> Tensor:
    """Where a row ends here, 0 for the ids it may end with and -inf for all others, as transformers forces an end."""
    if last_F is None:
        return logits_BV
    only_V = torch.full_like(logits_BV[0], -math.inf).index_fill(0, last_F, 0.0)
    return torch.where(ends_B[:, None], only_V, logits_BV)


def _pick(text_BKN: Tensor, index_BC: Tensor) -> Tensor:
    return text_BKN.gather(1, index_BC[:, :, None].expand(-1, -1, text_BKN.shape[2]))
