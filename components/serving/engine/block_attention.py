"""Attention over blocks of keys and values: two backends with the same results, except for rounding.

`BlockwiseBackend` is for many branches with one new token each: it computes every block in place and copies nothing, so
that a branch costs as much as it has cached. `GatheredBackend` copies the blocks of a few branches, or of branches with
several new tokens, next to each other for torch's attention. Knows tensors; does not know cache indices or models.

Shapes: R branches, T new tokens of a branch, N new tokens of all, X query heads, H key/value heads, G = X / H, D head
size, B blocks, E selected blocks, Z = E x H, S columns of a block, M blocks of the longest branch, C = M x S.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from components.model.base.attention_scores import ScoreRule, attend_by_rule
from components.model.base.token_spans import ALL_TOKENS, SLOT, TokenSpan
from components.serving.engine.block_pool import BLOCK_COLUMNS

Indices = npt.NDArray[np.int64]
_MAX_GATHERED_BLOCKS = 16
"""Up to this many blocks, copying them costs less than the many small operations of `BlockwiseBackend`."""

_SHORT_BLOCKS = 4
"""Branches of up to this many blocks share one length class."""


@dataclass(frozen=True, slots=True)
class CacheSpan:
    """One branch: its blocks, and how many cached columns and new tokens it has."""

    blocks: Sequence[int]
    cached_columns: int
    """Columns before the new tokens."""
    new_tokens: int
    shares_blocks: bool = False
    """Whether other branches may use the same blocks."""
    slot_columns: tuple[int, int] = (0, 0)
    """First column of its slots, and the column after the last one; equal if it has none."""


class AttentionBackend(Protocol):
    """The attention of some branches, whose new tokens follow each other."""

    def attend(self, query_NXD: Tensor, layer_2BHSD: Tensor, rule: ScoreRule, span: TokenSpan = ALL_TOKENS) -> Tensor:
        """Return the attention output [N, X, D] of each new token.

        It sees its branch's slots, and of the columns up to its own those in its span.
        """


def plan_attention(spans: Sequence[CacheSpan], layer_2BHSD: Tensor) -> list[tuple[int, int, AttentionBackend]]:
    """Return (first token, end, backend) for each group of these spans, in the order of `order_for_attention`.

    `layer_2BHSD` is any layer: only its shape, dtype and device are used.
    """
    groups: dict[int, list[CacheSpan]] = {}
    for span in spans:
        groups.setdefault(_find_length_class(span), []).append(span)
    plan: list[tuple[int, int, AttentionBackend]] = []
    start = 0
    for length_class, group in groups.items():
        are_few = len(group) * max(len(span.blocks) for span in group) <= _MAX_GATHERED_BLOCKS
        backend_class = GatheredBackend if length_class or are_few else BlockwiseBackend
        backend: AttentionBackend = backend_class.build(group, layer_2BHSD)
        end = start + sum(span.new_tokens for span in group)
        plan.append((start, end, backend))
        start = end
    return plan


def order_for_attention(spans: Sequence[CacheSpan]) -> list[int]:
    """Return the indices of the spans, sorted so that those computed together are neighbours."""
    return sorted(range(len(spans)), key=lambda number: _find_length_class(spans[number]))


def _find_length_class(span: CacheSpan) -> int:
    """Return 0 for one new token, else the logarithm of the number of blocks: a group costs as much as its longest.

    Branches that share blocks have classes of their own, the negative ones: `BlockwiseBackend` cannot compute them.
    """
    if span.new_tokens == 1 and not span.shares_blocks:
        return 0
    length_class = max(len(span.blocks), _SHORT_BLOCKS).bit_length()
    return -length_class if span.shares_blocks else length_class


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
        used = np.fromiter(chain.from_iterable(span.blocks for span in spans), np.int64)
        branch, number, first, longest = _number_blocks(spans)
        end = int(used.max()) + 1
        use_range = end <= 2 * len(used)  # computing the gaps costs less than copying the blocks
        position = used if use_range else np.arange(len(used))
        branch_E = np.full(end if use_range else len(used), count)
        number_E = np.zeros_like(branch_E)
        branch_E[position], number_E[position] = branch, number
        block_RM = np.repeat(position[first, None], longest, axis=1)
        block_RM[branch, number] = position
        last_column = np.array([span.cached_columns for span in spans])[branch] - BLOCK_COLUMNS * number
        visible_RMS = np.zeros((count, longest, BLOCK_COLUMNS), np.bool_)
        visible_RMS[branch, number] = np.arange(BLOCK_COLUMNS) <= last_column[:, None]
        mask_RM1S = _make_mask(torch.from_numpy(visible_RMS).to(device), torch.float32)[:, :, None]
        return cls(
            blocks=slice(0, end) if use_range else torch.from_numpy(used).to(device),
            branch_E=torch.from_numpy(branch_E).to(device),
            clamped_branch_E=torch.from_numpy(np.minimum(branch_E, count - 1)).to(device),
            number_E=torch.from_numpy(number_E).to(device),
            block_F=torch.from_numpy(block_RM.ravel()).to(device),
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
            near_RC = span.is_near(*_find_token_indices(query_R1, column_C, slot_columns))
            far_RM1S = ~near_RC.view(len(self.spans), longest, 1, BLOCK_COLUMNS)
            self.mask_by_span[span] = self.mask_RM1S.masked_fill(far_RM1S, torch.finfo(torch.float32).min)
        return self.mask_by_span[span]


def _number_blocks(spans: Sequence[CacheSpan]) -> "tuple[Indices, Indices, Indices, int]":
    """Return of all blocks, one branch after the other, the branch and the number in it.

    Then for each branch the index of its first block, and how many blocks the longest has.
    """
    count_R = np.array([len(span.blocks) for span in spans])
    first_R = count_R.cumsum() - count_R
    branch = np.repeat(np.arange(len(spans)), count_R)
    return branch, np.arange(len(branch)) - first_R[branch], first_R, int(count_R.max())


@dataclass(frozen=True, slots=True)
class GatheredBackend:
    """Several new tokens for each branch, or few branches."""

    block_F: Tensor
    """Blocks of each branch and head [R x H x M] as rows of [B x H]; filled up with the branch's first block."""
    shape: tuple[int, int]
    """R and H."""
    token_index_RT: Tensor | None
    """Index of the token at each position, of N; None: T is 1."""
    output_index_N: Tensor | None
    """Position of each token in [R x T]; None: T is 1."""
    columns: int
    """Columns of C that are used."""
    mask_R1TC: Tensor | None
    """Of layers in which a token sees all tokens before it. None: every token sees all of these columns."""
    last_column_RT1: Tensor
    """The column of each new token in its branch."""
    spans: Sequence[CacheSpan]
    mask_by_span: dict[TokenSpan, Tensor]

    @classmethod
    def build(cls, spans: Sequence[CacheSpan], layer_2BHSD: Tensor) -> "GatheredBackend":
        """Compute the indices for these branches."""
        device, kv_heads = layer_2BHSD.device, layer_2BHSD.shape[2]
        token_R1 = np.array([[span.new_tokens] for span in spans])
        cached_R1 = np.array([[span.cached_columns] for span in spans])
        width = int(token_R1.max())
        number_T = np.arange(width)
        is_token_RT = number_T < token_R1
        last_column_RT = np.where(is_token_RT, cached_R1 + number_T, 0)
        first_R1 = token_R1.cumsum(axis=0) - token_R1
        columns, last_column_RT1 = (
            int(last_column_RT.max()) + 1,
            torch.from_numpy(last_column_RT).to(device)[:, :, None],
        )
        mask_RTC = None
        if width > 1 or last_column_RT.min() < last_column_RT.max():
            mask_RTC = _make_mask(torch.arange(columns, device=device) <= last_column_RT1, layer_2BHSD.dtype)
        token_index_RT = np.where(is_token_RT, first_R1 + number_T, 0)
        block_RHM = kv_heads * _tabulate_blocks(spans)[:, None] + np.arange(kv_heads)[:, None]
        return cls(
            block_F=torch.from_numpy(block_RHM.ravel()).to(device),
            shape=(len(spans), kv_heads),
            token_index_RT=None if width == 1 else torch.from_numpy(token_index_RT).to(device),
            output_index_N=None if width == 1 else torch.from_numpy(np.flatnonzero(is_token_RT)).to(device),
            columns=columns,
            mask_R1TC=None if mask_RTC is None else mask_RTC[:, None],
            last_column_RT1=last_column_RT1,
            spans=spans,
            mask_by_span={},
        )

    def attend(self, query_NXD: Tensor, layer_2BHSD: Tensor, rule: ScoreRule, span: TokenSpan = ALL_TOKENS) -> Tensor:
        """See `AttentionBackend.attend`."""
        (branches, kv_heads), size = self.shape, query_NXD.shape[2]
        gathered = layer_2BHSD.flatten(1, 2).flatten(2).index_select(1, self.block_F)
        key_RHCD, value_RHCD = gathered.view(2, branches, kv_heads, -1, size)[..., : self.columns, :].unbind(0)
        query_RTXD = query_NXD[:, None] if self.token_index_RT is None else query_NXD[self.token_index_RT]
        width, heads = query_RTXD.shape[1:3]
        if span != ALL_TOKENS or not rule.is_plain:
            mask_R1TC = self._get_mask(span, query_NXD.dtype, query_NXD.device)
            output_RXTD = attend_by_rule(query_RTXD.transpose(1, 2), key_RHCD, value_RHCD, mask_R1TC, rule)
            output_NXD = output_RXTD.transpose(1, 2).flatten(0, 1)
            return output_NXD if self.output_index_N is None else output_NXD[self.output_index_N]
        query_RHZD = query_RTXD.transpose(1, 2).reshape(branches, kv_heads, -1, size)
        mask_R1ZC = self.mask_R1TC
        if mask_R1ZC is not None and width > 1 and heads > kv_heads:
            mask_R1ZC = mask_R1ZC.repeat(1, 1, heads // kv_heads, 1)
        output_RHZD = scaled_dot_product_attention(
            query_RHZD, key_RHCD, value_RHCD, attn_mask=mask_R1ZC, scale=rule.scale
        )
        output_NXD = output_RHZD.reshape(branches, heads, width, size).transpose(1, 2).flatten(0, 1)
        return output_NXD if self.output_index_N is None else output_NXD[self.output_index_N]

    def _get_mask(self, span: TokenSpan, dtype: torch.dtype, device: torch.device) -> Tensor:
        if span not in self.mask_by_span:
            column_C = torch.arange(self.columns, device=device)
            last_column_RT1 = self.last_column_RT1
            slot_columns = torch.tensor([one.slot_columns for one in self.spans], device=device).T[:, :, None, None]
            near_RTC = span.is_near(*_find_token_indices(last_column_RT1, column_C, slot_columns))
            self.mask_by_span[span] = _make_mask(near_RTC & (column_C <= last_column_RT1), dtype)[:, None]
        return self.mask_by_span[span]


def _tabulate_blocks(spans: Sequence[CacheSpan]) -> Indices:
    """Return the blocks of each branch [R, M], filled up with its first block."""
    used = np.fromiter(chain.from_iterable(span.blocks for span in spans), np.int64)
    branch, number, first_R, longest = _number_blocks(spans)
    block_RM = np.repeat(used[first_R, None], longest, axis=1)
    block_RM[branch, number] = used
    return block_RM


def _find_token_indices(query_column: Tensor, column: Tensor, slot_columns: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the token indices of queries and keys by their columns, which broadcast; slots do not count as tokens."""
    start, end = slot_columns
    query = query_column - torch.where(query_column >= end, end - start, 0)
    key = column - torch.where(column >= end, end - start, 0)
    return query, key.masked_fill((column >= start) & (column < end), SLOT)


def _make_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask to add to scores; it is finite, so that a softmax over hidden columns alone is not NaN."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, torch.finfo(dtype).min)
