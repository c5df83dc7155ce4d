"""Attention over blocks of keys and values: two backends with the same results, except for rounding.

`BlockwiseBackend` is for many branches with one new token each: it computes every block in place and copies nothing, so
that a branch costs as much as it has cached. `GatheredBackend` copies the blocks of a few branches, or of branches with
several new tokens, next to each other for torch's attention. Knows tensors; does not know cache indices or models.

Shapes: R branches, T new tokens of a branch, N new tokens of all, X query heads, H key/value heads, G = X / H, D head
size, B blocks, E selected blocks, Z = E x H, S columns of a block, M blocks of the longest branch, C = M x S.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from components.model.base.attention_scores import ScoreRule, attend_by_rule
from components.model.base.token_spans import ALL_TOKENS, SLOT, TokenSpan
from components.serving.engine.block_pool import BLOCK_COLUMNS

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
    """One new token for each branch; the softmax is combined from the parts of the blocks."""

    blocks: slice | Tensor
    """The E selected blocks: a range without a copy, or indices."""
    branch_E: Tensor
    """The branch of each block; R: a block of no branch in this group, whose result is dropped."""
    clamped_branch_E: Tensor
    """The same, with R replaced by a valid index."""
    block_RM: Tensor
    """Each branch's blocks as indices into the E; filled up with its first block."""
    mask_E1S: Tensor
    """Of layers in which a token sees all tokens before it."""
    block_numbers: Sequence[int]
    """The number of each of the E blocks within its branch."""
    spans: Sequence[CacheSpan]
    mask_by_span: dict[TokenSpan, Tensor]

    @classmethod
    def build(cls, spans: Sequence[CacheSpan], layer_2BHSD: Tensor) -> "BlockwiseBackend":
        """Compute the indices for these branches."""
        device, longest = layer_2BHSD.device, max(len(span.blocks) for span in spans)
        used = [block for span in spans for block in span.blocks]
        end = max(used) + 1
        use_range = end <= 2 * len(used)  # computing the gaps costs less than copying the blocks
        selected_count = end if use_range else len(used)
        positions = iter(used if use_range else range(len(used)))
        branches, last_columns, table = [len(spans)] * selected_count, [-1] * selected_count, []
        numbers = [0] * selected_count
        for branch, span in enumerate(spans):
            own = list(islice(positions, len(span.blocks)))
            for number, position in enumerate(own):
                branches[position] = branch
                last_columns[position] = span.cached_columns - BLOCK_COLUMNS * number
                numbers[position] = number
            table.append(own + own[:1] * (longest - len(own)))
        branch_E, last_column_E = torch.tensor([branches, last_columns], device=device)
        visible_ES = torch.arange(BLOCK_COLUMNS, device=device) <= last_column_E[:, None]
        mask_E1S = _make_mask(visible_ES, torch.float32)[:, None]
        return cls(
            blocks=slice(0, end) if use_range else torch.tensor(used, device=device),
            branch_E=branch_E,
            clamped_branch_E=branch_E.clamp(max=len(spans) - 1),
            block_RM=torch.tensor(table, device=device),
            mask_E1S=mask_E1S,
            block_numbers=numbers,
            spans=spans,
            mask_by_span={ALL_TOKENS: mask_E1S},
        )

    def attend(self, query_RXD: Tensor, layer_2BHSD: Tensor, rule: ScoreRule, span: TokenSpan = ALL_TOKENS) -> Tensor:
        """See `AttentionBackend.attend`."""
        branches, heads, size = query_RXD.shape
        key_EHSD, value_EHSD = layer_2BHSD[:, self.blocks].unbind(0)
        blocks, kv_heads, columns = key_EHSD.shape[:3]
        query_EXD = (query_RXD * rule.scale).index_select(0, self.clamped_branch_E)
        products = query_EXD.view(blocks * kv_heads, -1, size), key_EHSD.reshape(-1, columns, size).transpose(1, 2)
        score_EXS = rule.cap(torch.bmm(*products).view(blocks, heads, columns).float()).add_(self._get_mask(span))
        max_RX = score_EXS.amax(dim=2)[self.block_RM].amax(dim=1)
        max_RX = max_RX if rule.sink_X is None else torch.maximum(max_RX, rule.sink_X.float())
        weight_EXS = score_EXS.sub_(max_RX.index_select(0, self.clamped_branch_E)[:, :, None]).exp_()
        weight_ZGS = weight_EXS.to(value_EHSD.dtype).view(blocks * kv_heads, -1, columns)
        part_EXD = torch.bmm(weight_ZGS, value_EHSD.reshape(-1, columns, size)).view(blocks, heads, size).float()
        sum_RX = weight_EXS.new_zeros(branches + 1, heads).index_add_(0, self.branch_E, weight_EXS.sum(dim=2))
        if rule.sink_X is not None:
            sum_RX[:branches] += (rule.sink_X.float() - max_RX).exp()
        sum_RXD = part_EXD.new_zeros(branches + 1, heads, size).index_add_(0, self.branch_E, part_EXD)
        return (sum_RXD / sum_RX[:, :, None])[:branches].to(query_RXD.dtype)

    def _get_mask(self, span: TokenSpan) -> Tensor:
        if span not in self.mask_by_span:
            device = self.branch_E.device
            of_branch = [[one.cached_columns, *one.slot_columns] for one in self.spans]
            query_E1, *slot_columns = torch.tensor(of_branch, device=device).T[:, self.clamped_branch_E, None]
            number_E1 = torch.tensor(self.block_numbers, device=device)[:, None]
            column_ES = BLOCK_COLUMNS * number_E1 + torch.arange(BLOCK_COLUMNS, device=device)
            near_ES = span.is_near(*_find_token_indices(query_E1, column_ES, slot_columns))
            self.mask_by_span[span] = self.mask_E1S.masked_fill(~near_ES[:, None], torch.finfo(torch.float32).min)
        return self.mask_by_span[span]


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
    last_columns: Sequence[Sequence[int]]
    """The column of each new token in its branch, [R, T]."""
    spans: Sequence[CacheSpan]
    mask_by_span: dict[TokenSpan, Tensor]

    @classmethod
    def build(cls, spans: Sequence[CacheSpan], layer_2BHSD: Tensor) -> "GatheredBackend":
        """Compute the indices for these branches."""
        device, kv_heads = layer_2BHSD.device, layer_2BHSD.shape[2]
        width, longest = max(span.new_tokens for span in spans), max(len(span.blocks) for span in spans)
        tokens, last_columns, positions, count = list[list[int]](), list[list[int]](), list[int](), 0
        for branch, span in enumerate(spans):
            padding = [0] * (width - span.new_tokens)
            tokens.append([*range(count, count + span.new_tokens), *padding])
            last_columns.append([*range(span.cached_columns, span.cached_columns + span.new_tokens), *padding])
            positions += range(branch * width, branch * width + span.new_tokens)
            count += span.new_tokens
        table = [[*span.blocks, *[span.blocks[0]] * (longest - len(span.blocks))] for span in spans]
        blocks = [block * kv_heads + head for own in table for head in range(kv_heads) for block in own]
        columns, mask_RTC = max(map(max, last_columns)) + 1, None
        if width > 1 or min(last_columns) < max(last_columns):
            last_column_RT = torch.tensor(last_columns, device=device)
            visible_RTC = torch.arange(columns, device=device) <= last_column_RT[:, :, None]
            mask_RTC = _make_mask(visible_RTC, layer_2BHSD.dtype)
        return cls(
            block_F=torch.tensor(blocks, device=device),
            shape=(len(spans), kv_heads),
            token_index_RT=None if width == 1 else torch.tensor(tokens, device=device),
            output_index_N=None if width == 1 else torch.tensor(positions, device=device),
            columns=columns,
            mask_R1TC=None if mask_RTC is None else mask_RTC[:, None],
            last_columns=last_columns,
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
            last_column_RT1 = torch.tensor(self.last_columns, device=device)[:, :, None]
            slot_columns = torch.tensor([one.slot_columns for one in self.spans], device=device).T[:, :, None, None]
            near_RTC = span.is_near(*_find_token_indices(last_column_RT1, column_C, slot_columns))
            self.mask_by_span[span] = _make_mask(near_RTC & (column_C <= last_column_RT1), dtype)[:, None]
        return self.mask_by_span[span]


def _find_token_indices(query_column: Tensor, column: Tensor, slot_columns: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the token indices of queries and keys by their columns, which broadcast; slots do not count as tokens."""
    start, end = slot_columns
    query = query_column - torch.where(query_column >= end, end - start, 0)
    key = column - torch.where(column >= end, end - start, 0)
    return query, key.masked_fill((column >= start) & (column < end), SLOT)


def _make_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the mask to add to scores; it is finite, so that a softmax over hidden columns alone is not NaN."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, torch.finfo(dtype).min)
