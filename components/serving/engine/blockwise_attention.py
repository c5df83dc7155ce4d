"""Attention of many branches with one new token each, block by block and in place.

No key or value is copied, so that a branch costs as much as it has cached. No two of these branches share a block.
Knows tensors; does not know cache indices or models.

Shapes: R branches, X query heads, H key/value heads, G = X / H, D head size, B blocks, E selected blocks, Z = E x H, S
columns of a block, M blocks of the longest branch, F = R x M, C = M x S.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.model.base.attention_scores import ScoreRule
from components.model.base.token_spans import ALL_TOKENS, TokenSpan
from components.serving.engine.block_pool import BLOCK_COLUMNS
from components.serving.engine.cache_spans import CacheSpan, find_token_indices, make_mask, number_blocks, select_blocks


@dataclass(frozen=True, slots=True)
class BlockwiseBackend:
    """One new token for each branch; blocks are multiplied where they are, and only their scores are put in order."""

    blocks: slice | Tensor
    """The E selected blocks: a range without a copy, or indices."""
    branch_E: Tensor
    """The branch of each block; R: a block of no branch in this group, whose result is dropped."""
    clamped_branch_E: Tensor
    """The same, with R replaced by a valid index."""
    number_E: Tensor
    """The number of each block within its branch."""
    block_F: Tensor
    """Each branch's blocks as indices into the E: F = R x M; filled up with its first block."""
    mask_RM1S: Tensor
    """Of layers in which a token sees all tokens before it."""
    spans: Sequence[CacheSpan]
    mask_by_span: dict[TokenSpan, Tensor]

    @classmethod
    def build(cls, spans: Sequence[CacheSpan], layer_2BHSD: Tensor) -> "BlockwiseBackend":
        """Compute the indices for these branches."""
        device, count = layer_2BHSD.device, len(spans)
        numbered = number_blocks(spans)
        branch, number = numbered.branch, numbered.number
        selection = select_blocks(numbered.blocks, device)
        branch_E = np.full(selection.size, count)
        number_E = np.zeros_like(branch_E)
        branch_E[selection.place], number_E[selection.place] = branch, number
        last_column = np.array([span.cached_columns for span in spans])[branch] - BLOCK_COLUMNS * number
        visible_RMS = np.zeros((count, numbered.longest, BLOCK_COLUMNS), np.bool_)
        visible_RMS[branch, number] = np.arange(BLOCK_COLUMNS) <= last_column[:, None]
        mask_RM1S = make_mask(torch.from_numpy(visible_RMS).to(device), torch.float32)[:, :, None]
        return cls(
            blocks=selection.blocks,
            branch_E=torch.from_numpy(branch_E).to(device),
            clamped_branch_E=torch.from_numpy(np.minimum(branch_E, count - 1)).to(device),
            number_E=torch.from_numpy(number_E).to(device),
            block_F=torch.from_numpy(numbered.tabulate(selection.place).ravel()).to(device),
            mask_RM1S=mask_RM1S,
            spans=spans,
            mask_by_span={ALL_TOKENS: mask_RM1S},
        )

    def attend(self, query_RXD: Tensor, layer_2BHSD: Tensor, rule: ScoreRule, span: TokenSpan = ALL_TOKENS) -> Tensor:
        """See `AttentionBackend.attend`."""
        branches, heads, size = query_RXD.shape
        key_EHSD, value_EHSD = layer_2BHSD[:, self.blocks].unbind(0)
        blocks, kv_heads, columns = key_EHSD.shape[:3]
        query_EXD = (query_RXD * rule.scale).index_select(0, self.clamped_branch_E)
        products = query_EXD.view(blocks * kv_heads, -1, size), key_EHSD.reshape(-1, columns, size).transpose(1, 2)
        score_FXS = torch.bmm(*products).view(blocks, heads, columns).index_select(0, self.block_F)
        score_RMXS = rule.cap(score_FXS.float()).view(branches, -1, heads, columns).add_(self._get_mask(span))
        score_RXC = score_RMXS.transpose(1, 2).reshape(branches, heads, -1)
        weight_RXMS = score_RXC.softmax(dim=2).to(value_EHSD.dtype).view(branches, heads, -1, columns)
        weight_EXS = weight_RXMS[self.clamped_branch_E, :, self.number_E]
        weight_ZGS = weight_EXS.view(blocks * kv_heads, -1, columns)
        part_EXD = torch.bmm(weight_ZGS, value_EHSD.reshape(-1, columns, size)).view(blocks, heads, size).float()
        sum_RXD = part_EXD.new_zeros(branches + 1, heads, size).index_add_(0, self.branch_E, part_EXD)[:branches]
        if rule.sink_X is not None:  # a sink takes its share of the weights
            sum_RXD *= (score_RXC.logsumexp(dim=2) - rule.sink_X.float()).sigmoid()[:, :, None]
        return sum_RXD.to(query_RXD.dtype)

    def _get_mask(self, span: TokenSpan) -> Tensor:
        if span not in self.mask_by_span:
            device, longest = self.mask_RM1S.device, self.mask_RM1S.shape[1]
            of_branch = [[one.cached_columns, *one.slot_columns] for one in self.spans]
            query_R1, *slot_columns = torch.tensor(of_branch, device=device).T[:, :, None]
            column_C = torch.arange(longest * BLOCK_COLUMNS, device=device)
            near_RC = span.is_near(*find_token_indices(query_R1, column_C, slot_columns))
            far_RM1S = ~near_RC.view(len(self.spans), longest, 1, BLOCK_COLUMNS)
            self.mask_by_span[span] = self.mask_RM1S.masked_fill(far_RM1S, torch.finfo(torch.float32).min)
        return self.mask_by_span[span]
