"""What readers attend to: two ways over blocks of keys and values, which give the same but for rounding.

`BlockwiseBackend` is for one token each of many readers: it computes every block where it lies, copies none, and a
reader costs what it has remembered. `GatheredBackend` lays the blocks of a few readers, or of some that read several
tokens, side by side for torch's own attention. Knows tensors; does not know readers' places or models.

Shapes: R readers, T tokens of a reader, N tokens of all, X query heads, H key/value heads, G = X / H, D head size,
B blocks (E of them that are looked at), S columns of a block, M blocks of the longest reader, C = M x S.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from components.serving.engine.block_pool import BLOCK_COLUMNS

_MAX_GATHERED_BLOCKS = 16
"""Blocks, laid side by side, up to which copying them costs less than the many small steps of `BlockwiseBackend`."""

_SHORT_BLOCKS = 4
"""Blocks of readers that are all alike short."""


@dataclass(frozen=True, slots=True)
class CacheSpan:
    """One reader: its blocks, how many columns it remembers, and how many tokens it reads behind them."""

    blocks: Sequence[int]
    cached_columns: int
    new_tokens: int


class AttentionBackend(Protocol):
    """The attention of some readers, whose tokens stand one after another."""

    def attend(self, query_NXD: Tensor, layer_2BHSD: Tensor, scale: float) -> Tensor:
        """What each token attends to, [N, X, D]."""


def plan_attention(spans: Sequence[CacheSpan], layer_2BHSD: Tensor) -> list[tuple[int, int, AttentionBackend]]:
    """How to compute these, in the order of `order_for_attention`, over layers like this: (first token, end, way)."""
    parts: dict[int, list[CacheSpan]] = {}
    for span in spans:
        parts.setdefault(_find_length_class(span), []).append(span)
    found: list[tuple[int, int, AttentionBackend]] = []
    start = 0
    for kind, part in parts.items():
        few = len(part) * max(len(span.blocks) for span in part) <= _MAX_GATHERED_BLOCKS
        kind_of_way = GatheredBackend if kind or few else BlockwiseBackend
        way: AttentionBackend = kind_of_way.build(part, layer_2BHSD)
        end = start + sum(span.new_tokens for span in part)
        found.append((start, end, way))
        start = end
    return found


def order_for_attention(spans: Sequence[CacheSpan]) -> list[int]:
    """The numbers of these so that those computed together are neighbours."""
    return sorted(range(len(spans)), key=lambda number: _find_length_class(spans[number]))


def _find_length_class(span: CacheSpan) -> int:
    """0 for one token; readers of several share a computation with those of like length, since all pay for the most."""
    return 0 if span.new_tokens == 1 else max(len(span.blocks), _SHORT_BLOCKS).bit_length()


@dataclass(frozen=True, slots=True)
class BlockwiseBackend:
    """One token each; softmax is put together from the blocks' parts."""

    blocks: slice | Tensor
    branch_E: Tensor
    """Whose block it is; R: another's, which is computed for nothing."""
    clamped_branch_E: Tensor
    """The same with any reader in R's place."""
    block_RM: Tensor
    """A reader's blocks among the E, the first one again where there are no more."""
    mask_E1S: Tensor

    @classmethod
    def build(cls, spans: Sequence[CacheSpan], layer_2BHSD: Tensor) -> "BlockwiseBackend":
        """The indices for these readers."""
        device, longest = layer_2BHSD.device, max(len(span.blocks) for span in spans)
        taken = [block for span in spans for block in span.blocks]
        reach = max(taken) + 1
        together = reach <= 2 * len(taken)  # gaps cost less than copies
        looked_at = reach if together else len(taken)
        spots = iter(taken if together else range(len(taken)))
        readers, ends, table = [len(spans)] * looked_at, [-1] * looked_at, []
        for reader, span in enumerate(spans):
            own = list(islice(spots, len(span.blocks)))
            for number, spot in enumerate(own):
                readers[spot], ends[spot] = reader, span.cached_columns - BLOCK_COLUMNS * number
            table.append(own + own[:1] * (longest - len(own)))
        reader_E, end_E = torch.tensor([readers, ends], device=device)
        return cls(
            blocks=slice(0, reach) if together else torch.tensor(taken, device=device),
            branch_E=reader_E,
            clamped_branch_E=reader_E.clamp(max=len(spans) - 1),
            block_RM=torch.tensor(table, device=device),
            mask_E1S=_make_mask(torch.arange(BLOCK_COLUMNS, device=device) <= end_E[:, None], torch.float32)[:, None],
        )

    def attend(self, query_RXD: Tensor, layer_2BHSD: Tensor, scale: float) -> Tensor:
        """See `AttentionBackend.attend`."""
        readers, heads, size = query_RXD.shape
        key_EHSD, value_EHSD = layer_2BHSD[:, self.blocks].unbind(0)
        blocks, kv_heads, columns = key_EHSD.shape[:3]
        query_EXD = (query_RXD * scale).index_select(0, self.clamped_branch_E)
        products = query_EXD.view(blocks * kv_heads, -1, size), key_EHSD.reshape(-1, columns, size).transpose(1, 2)
        score_EXS = torch.bmm(*products).view(blocks, heads, columns).float().add_(self.mask_E1S)
        most_RX = score_EXS.amax(dim=2)[self.block_RM].amax(dim=1)
        share_EXS = score_EXS.sub_(most_RX.index_select(0, self.clamped_branch_E)[:, :, None]).exp_()
        share_ZGS = share_EXS.to(value_EHSD.dtype).view(blocks * kv_heads, -1, columns)
        part_EXD = torch.bmm(share_ZGS, value_EHSD.reshape(-1, columns, size)).view(blocks, heads, size).float()
        sum_RX = share_EXS.new_zeros(readers + 1, heads).index_add_(0, self.branch_E, share_EXS.sum(dim=2))
        sum_RXD = part_EXD.new_zeros(readers + 1, heads, size).index_add_(0, self.branch_E, part_EXD)
        return (sum_RXD / sum_RX[:, :, None])[:readers].to(query_RXD.dtype)


@dataclass(frozen=True, slots=True)
class GatheredBackend:
    """Several tokens each, or few readers."""

    block_F: Tensor
    """Blocks of each reader and head [R x H x M] as rows of [B x H]; the reader's first block where it has no more."""
    shape: tuple[int, int]
    """R and H."""
    token_index_RT: Tensor | None
    """Which of the tokens stand there; None: token r at [r, 0]."""
    output_index_N: Tensor | None
    """Where the tokens stand in [R x T]; None: token r at r."""
    columns: int
    """Of C that are looked at."""
    mask_R1TC: Tensor | None
    """None: all see all of them."""

    @classmethod
    def build(cls, spans: Sequence[CacheSpan], layer_2BHSD: Tensor) -> "GatheredBackend":
        """The indices for these readers."""
        device, kv_heads = layer_2BHSD.device, layer_2BHSD.shape[2]
        width, longest = max(span.new_tokens for span in spans), max(len(span.blocks) for span in spans)
        tokens, ends, back, count = list[list[int]](), list[list[int]](), list[int](), 0
        for reader, span in enumerate(spans):
            fill = [0] * (width - span.new_tokens)
            tokens.append([*range(count, count + span.new_tokens), *fill])
            ends.append([*range(span.cached_columns, span.cached_columns + span.new_tokens), *fill])
            back += range(reader * width, reader * width + span.new_tokens)
            count += span.new_tokens
        table = [[*span.blocks, *[span.blocks[0]] * (longest - len(span.blocks))] for span in spans]
        blocks = [block * kv_heads + head for own in table for head in range(kv_heads) for block in own]
        columns, mask_RTC = max(map(max, ends)) + 1, None
        if width > 1 or min(ends) < max(ends):
            seen_RTC = torch.arange(columns, device=device) <= torch.tensor(ends, device=device)[:, :, None]
            mask_RTC = _make_mask(seen_RTC, layer_2BHSD.dtype)
        return cls(
            block_F=torch.tensor(blocks, device=device),
            shape=(len(spans), kv_heads),
            token_index_RT=None if width == 1 else torch.tensor(tokens, device=device),
            output_index_N=None if width == 1 else torch.tensor(back, device=device),
            columns=columns,
            mask_R1TC=None if mask_RTC is None else mask_RTC[:, None],
        )

    def attend(self, query_NXD: Tensor, layer_2BHSD: Tensor, scale: float) -> Tensor:
        """See `AttentionBackend.attend`."""
        (readers, kv_heads), size = self.shape, query_NXD.shape[2]
        found = layer_2BHSD.flatten(1, 2).flatten(2).index_select(1, self.block_F)
        key_RHCD, value_RHCD = found.view(2, readers, kv_heads, -1, size)[..., : self.columns, :].unbind(0)
        query_RTXD = query_NXD[:, None] if self.token_index_RT is None else query_NXD[self.token_index_RT]
        width, heads = query_RTXD.shape[1:3]
        query_RHZD = query_RTXD.transpose(1, 2).reshape(readers, kv_heads, -1, size)
        mask_R1ZC = self.mask_R1TC
        if mask_R1ZC is not None and width > 1 and heads > kv_heads:
            mask_R1ZC = mask_R1ZC.repeat(1, 1, heads // kv_heads, 1)
        output_RHZD = scaled_dot_product_attention(query_RHZD, key_RHCD, value_RHCD, attn_mask=mask_R1ZC, scale=scale)
        output_NXD = output_RHZD.reshape(readers, heads, width, size).transpose(1, 2).flatten(0, 1)
        return output_NXD if self.output_index_N is None else output_NXD[self.output_index_N]


def _make_mask(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to scores: finite, so that a reader with nothing to see still has numbers."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
