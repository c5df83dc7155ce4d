"""Attention over blocks of keys and values: three backends with the same results, except for rounding.

`BlockwiseBackend` is for many branches with one new token each, and copies nothing; `SharedBlocksBackend` is the same
for beams, whose branches share blocks. `GatheredBackend` copies the blocks of a few branches, or of branches with
several new tokens, next to each other for torch's attention. Knows tensors; does not know cache indices or models.

Shapes: R branches, T new tokens of a branch, N new tokens of all, X query heads, H key/value heads, G = X / H, D head
size, B blocks, Z = G x T, S columns of a block, M blocks of the longest branch, C = M x S.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from components.model.base.attention_scores import ScoreRule, attend_by_rule
from components.model.base.token_spans import ALL_TOKENS, TokenSpan
from components.serving.engine.blockwise_attention import BlockwiseBackend
from components.serving.engine.cache_spans import (
    AttentionBackend,
    CacheSpan,
    find_token_indices,
    make_mask,
    number_blocks,
)
from components.serving.engine.shared_block_attention import SharedBlocksBackend

_MAX_GATHERED_BLOCKS = 16
"""Up to this many blocks, copying them costs less than the many small operations of `BlockwiseBackend`."""

_MAX_GATHERED_SHARED_BLOCKS = 64
"""The same for `SharedBlocksBackend`, which needs more operations."""

_SHORT_BLOCKS = 4
"""Branches of up to this many blocks share one length class."""


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
        backend: AttentionBackend = _choose_backend(length_class, group).build(group, layer_2BHSD)
        end = start + sum(span.new_tokens for span in group)
        plan.append((start, end, backend))
        start = end
    return plan


def order_for_attention(spans: Sequence[CacheSpan]) -> list[int]:
    """Return the indices of the spans, sorted so that those computed together are neighbours."""
    return sorted(range(len(spans)), key=lambda number: _find_length_class(spans[number]))


def _choose_backend(length_class: int, group: Sequence[CacheSpan]) -> Any:
    count, copies = sum(len(span.blocks) for span in group), len(group) * max(len(span.blocks) for span in group)
    if length_class or copies <= _MAX_GATHERED_BLOCKS:
        return GatheredBackend
    if len(set(chain.from_iterable(span.blocks for span in group))) == count:
        return BlockwiseBackend
    return GatheredBackend if copies <= _MAX_GATHERED_SHARED_BLOCKS else SharedBlocksBackend


def _find_length_class(span: CacheSpan) -> int:
    """Return 0 for one new token, else the logarithm of the number of blocks: a group costs as much as its longest."""
    return 0 if span.new_tokens == 1 else max(len(span.blocks), _SHORT_BLOCKS).bit_length()


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
            mask_RTC = make_mask(torch.arange(columns, device=device) <= last_column_RT1, layer_2BHSD.dtype)
        token_index_RT = np.where(is_token_RT, first_R1 + number_T, 0)
        numbered = number_blocks(spans)
        block_RHM = kv_heads * numbered.tabulate(numbered.blocks)[:, None] + np.arange(kv_heads)[:, None]
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

    def advance(self, spans: Sequence[CacheSpan]) -> "GatheredBackend":
        """Return the backend of the same branches one column on, in the same blocks, with one new token each."""
        columns, last_column_RT1, mask_R1TC = self.columns + 1, self.last_column_RT1 + 1, self.mask_R1TC
        if mask_R1TC is not None:
            seen_RTC = torch.arange(columns, device=mask_R1TC.device) <= last_column_RT1
            mask_R1TC = make_mask(seen_RTC, mask_R1TC.dtype)[:, None]
        return GatheredBackend(
            block_F=self.block_F,
            shape=self.shape,
            token_index_RT=None,
            output_index_N=None,
            columns=columns,
            mask_R1TC=mask_R1TC,
            last_column_RT1=last_column_RT1,
            spans=spans,
            mask_by_span={},
        )

    def attend(self, query_NXD: Tensor, layer_2BHSD: Tensor, rule: ScoreRule, span: TokenSpan = ALL_TOKENS) -> Tensor:
        """See `AttentionBackend.attend`."""
        (branches, kv_heads), (_, heads, size) = self.shape, query_NXD.shape
        gathered = layer_2BHSD.flatten(1, 2).flatten(2).index_select(1, self.block_F)
        key_RHCD, value_RHCD = gathered.view(2, branches, kv_heads, -1, size)[..., : self.columns, :].unbind(0)
        if self.token_index_RT is None and span == ALL_TOKENS and rule.is_plain:
            query_RHGD = query_NXD.reshape(branches, kv_heads, -1, size)
            return scaled_dot_product_attention(
                query_RHGD, key_RHCD, value_RHCD, attn_mask=self.mask_R1TC, scale=rule.scale
            ).reshape(branches, heads, size)
        query_RTXD = query_NXD[:, None] if self.token_index_RT is None else query_NXD[self.token_index_RT]
        if span != ALL_TOKENS or not rule.is_plain:
            mask_R1TC = self._get_mask(span, query_NXD.dtype, query_NXD.device)
            output_RXTD = attend_by_rule(query_RTXD.transpose(1, 2), key_RHCD, value_RHCD, mask_R1TC, rule)
            output_NXD = output_RXTD.transpose(1, 2).flatten(0, 1)
            return output_NXD if self.output_index_N is None else output_NXD[self.output_index_N]
        query_RHZD = query_RTXD.transpose(1, 2).reshape(branches, kv_heads, -1, size)
        mask_R1ZC = self.mask_R1TC
        if mask_R1ZC is not None and heads > kv_heads:
            mask_R1ZC = mask_R1ZC.repeat(1, 1, heads // kv_heads, 1)
        output_RHZD = scaled_dot_product_attention(
            query_RHZD, key_RHCD, value_RHCD, attn_mask=mask_R1ZC, scale=rule.scale
        )
        output_RXTD = output_RHZD.reshape(branches, heads, -1, size)
        return output_RXTD.transpose(1, 2).flatten(0, 1)[self.output_index_N]

    def _get_mask(self, span: TokenSpan, dtype: torch.dtype, device: torch.device) -> Tensor:
        if span not in self.mask_by_span:
            column_C = torch.arange(self.columns, device=device)
            last_column_RT1 = self.last_column_RT1
            slot_columns = torch.tensor([one.slot_columns for one in self.spans], device=device).T[:, :, None, None]
            near_RTC = span.is_near(*find_token_indices(last_column_RT1, column_C, slot_columns))
            self.mask_by_span[span] = make_mask(near_RTC & (column_C <= last_column_RT1), dtype)[:, None]
        return self.mask_by_span[span]
