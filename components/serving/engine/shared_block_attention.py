"""Attention of many branches with one new token each, some of which share blocks, block by block and in place.

As `blockwise_attention`, for beams: those of a row share the blocks of their common columns. Such a block is computed
once, for the queries of all its branches. Knows tensors; does not know cache indices or models.

Shapes: R branches, X query heads, H key/value heads, G = X / H, D head size, B blocks, E selected blocks, U branches of
a block at most, F = E x U, S columns of a block, M blocks of the longest branch, Z = E x H, Y = U x G.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from components.model.base.attention_scores import ScoreRule
from components.model.base.token_spans import ALL_TOKENS, TokenSpan
from components.serving.engine.block_pool import BLOCK_COLUMNS
from components.serving.engine.cache_spans import CacheSpan, find_token_indices, make_mask, select_blocks


@dataclass(frozen=True, slots=True)
class SharedBlocksBackend:
    """One new token for each branch; the softmax is combined from the parts of the blocks."""

    parts: "Sequence[_BlockPart]"
    """The blocks that several branches share, and those of one branch each."""
    pair_RM: Tensor
    """Each branch's pairs with its blocks, as indices into the F of all parts; filled up with its first."""

    @classmethod
    def build(cls, spans: Sequence[CacheSpan], layer_2BHSD: Tensor) -> "SharedBlocksBackend":
        """Compute the indices for these branches."""
        device, branches_by_block = layer_2BHSD.device, dict[int, list[int]]()
        for branch, span in enumerate(spans):
            for block in span.blocks:
                branches_by_block.setdefault(block, []).append(branch)
        own = {block: branches for block, branches in branches_by_block.items() if len(branches) == 1}
        shared = {block: branches for block, branches in branches_by_block.items() if len(branches) > 1}
        pairs: list[list[int]] = [[] for _ in spans]
        parts, count = list[_BlockPart](), 0
        for group in (shared, own):
            if group:
                parts.append(_BlockPart.build(group, spans, pairs, count, device))
                count += len(parts[-1].branch_F)
        longest = max(map(len, pairs))
        table = [one + one[:1] * (longest - len(one)) for one in pairs]
        return cls(parts, torch.tensor(table, device=device))

    def attend(self, query_RXD: Tensor, layer_2BHSD: Tensor, rule: ScoreRule, span: TokenSpan = ALL_TOKENS) -> Tensor:
        """See `AttentionBackend.attend`."""
        query_RXD = query_RXD * rule.scale
        (branches, heads, size), kv_heads = query_RXD.shape, layer_2BHSD.shape[2]
        scores = [part.score(query_RXD, layer_2BHSD, rule, span) for part in self.parts]
        max_FX = torch.cat([part.to_pairs(one.amax(dim=4)) for part, one in zip(self.parts, scores, strict=True)])
        max_RX = max_FX[self.pair_RM].amax(dim=1)
        max_RX = max_RX if rule.sink_X is None else torch.maximum(max_RX, rule.sink_X.float())
        sum_RX, sum_RXD = max_RX.new_zeros(branches + 1, heads), max_RX.new_zeros(branches + 1, heads, size)
        for part, score_EHUGS in zip(self.parts, scores, strict=True):
            weight_EHUGS = score_EHUGS.sub_(part.to_blocks(max_RX, kv_heads)[..., None]).exp_()
            sum_RX.index_add_(0, part.branch_F, part.to_pairs(weight_EHUGS.sum(dim=4)))
            sum_RXD.index_add_(0, part.branch_F, part.to_pairs(part.weigh(weight_EHUGS, layer_2BHSD)))
        if rule.sink_X is not None:
            sum_RX[:branches] += (rule.sink_X.float() - max_RX).exp()
        return (sum_RXD / sum_RX[:, :, None])[:branches].to(query_RXD.dtype)


@dataclass(frozen=True, slots=True)
class _BlockPart:
    """E blocks, with up to U branches each."""

    blocks: slice | Tensor
    """A range without a copy, or indices."""
    users: int
    """U."""
    branch_F: Tensor
    """The branch of each pair; R: of no branch in this group, whose result is dropped."""
    clamped_branch_F: Tensor
    """The same, with R replaced by a valid index."""
    number_F: Tensor
    """The number of each pair's block within its branch."""
    visible_FS: Tensor
    """The columns that are before the new token."""
    spans: Sequence[CacheSpan]
    mask_by_span: dict[TokenSpan, Tensor]

    @classmethod
    def build(
        cls,
        branches_by_block: Mapping[int, Sequence[int]],
        spans: Sequence[CacheSpan],
        pairs: Sequence[list[int]],
        first_pair: int,
        device: torch.device,
    ) -> "_BlockPart":
        """Compute the indices for these blocks; append the number of each pair, from `first_pair` on, to its branch's.

        The blocks of a branch come in its order; shared blocks are its first ones.
        """
        selection = select_blocks(np.array(list(branches_by_block)), device)
        users = max(map(len, branches_by_block.values()))
        count = selection.size * users
        branch_by_pair, last_columns, numbers = [len(spans)] * count, [-1] * count, [0] * count
        for place, branches in zip(selection.place.tolist(), branches_by_block.values(), strict=True):
            for pair, branch in enumerate(branches, place * users):
                of_branch = pairs[branch]
                number = len(of_branch)
                of_branch.append(first_pair + pair)
                branch_by_pair[pair], numbers[pair] = branch, number
                last_columns[pair] = spans[branch].cached_columns - BLOCK_COLUMNS * number
        branch_F, last_column_F, number_F = torch.tensor([branch_by_pair, last_columns, numbers], device=device)
        return cls(
            blocks=selection.blocks,
            users=users,
            branch_F=branch_F,
            clamped_branch_F=branch_F.clamp(max=len(spans) - 1),
            number_F=number_F,
            visible_FS=torch.arange(BLOCK_COLUMNS, device=device) <= last_column_F[:, None],
            spans=spans,
            mask_by_span={},
        )

    def to_pairs(self, values_EHUG: Tensor) -> Tensor:
        """Return values [E, H, U, G, ...] as [F, X, ...]."""
        _, kv_heads, _, groups, *rest = values_EHUG.shape
        return values_EHUG.transpose(1, 2).reshape(-1, kv_heads * groups, *rest)

    def to_blocks(self, values_RX: Tensor, kv_heads: int) -> Tensor:
        """Return each branch's values [R, X, ...] at its pairs, [E, H, U, G, ...]."""
        heads, *rest = values_RX.shape[1:]
        of_pairs = values_RX.index_select(0, self.clamped_branch_F)
        return of_pairs.view(-1, self.users, kv_heads, heads // kv_heads, *rest).transpose(1, 2)

    def score(self, query_RXD: Tensor, layer_2BHSD: Tensor, rule: ScoreRule, span: TokenSpan) -> Tensor:
        """Return the masked scores [E, H, U, G, S]; the queries are scaled."""
        key_EHSD = layer_2BHSD[0, self.blocks]
        blocks, kv_heads, columns, size = key_EHSD.shape
        query_ZYD = self.to_blocks(query_RXD, kv_heads).reshape(blocks * kv_heads, -1, size)
        products = torch.bmm(query_ZYD, key_EHSD.view(-1, columns, size).transpose(1, 2))
        score_EHUGS = products.view(blocks, kv_heads, self.users, -1, columns).float()
        return rule.cap(score_EHUGS).add_(self._get_mask(span))

    def weigh(self, weight_EHUGS: Tensor, layer_2BHSD: Tensor) -> Tensor:
        """Return the weighted sums of the values, [E, H, U, G, D]."""
        value_EHSD = layer_2BHSD[1, self.blocks]
        blocks, kv_heads, columns, size = value_EHSD.shape
        weight_ZYS = weight_EHUGS.to(value_EHSD.dtype).view(blocks * kv_heads, -1, columns)
        sums = torch.bmm(weight_ZYS, value_EHSD.view(-1, columns, size))
        return sums.view(blocks, kv_heads, self.users, -1, size).float()

    def _get_mask(self, span: TokenSpan) -> Tensor:
        if span not in self.mask_by_span:
            seen_FS = self.visible_FS
            if span != ALL_TOKENS:
                of_branch = [[one.cached_columns, *one.slot_columns] for one in self.spans]
                query_F1, *slot_columns = torch.tensor(of_branch, device=seen_FS.device).T[
                    :, self.clamped_branch_F, None
                ]
                column_FS = BLOCK_COLUMNS * self.number_F[:, None] + torch.arange(BLOCK_COLUMNS, device=seen_FS.device)
                seen_FS = seen_FS & span.is_near(*find_token_indices(query_F1, column_FS, slot_columns))
            self.mask_by_span[span] = make_mask(seen_FS, torch.float32).view(-1, 1, self.users, 1, BLOCK_COLUMNS)
        return self.mask_by_span[span]
