"""Moves packed rows to and from batched products head by head: one copy each way, by indices made once a layout.

A place without a token holds its own row's first token, never another row's: what is not finite stays with its owner.
Knows layouts and tensors; does not know attention.

Shapes: those of `components.model.packing.layout`; H query heads, K key/value heads, G = H / K, D head size, Q slots of
all prefixes, Z = B * K; E places without a token.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from components.model.packing.layout import PackedLayout


@dataclass(frozen=True, slots=True)
class HeadIndices:
    """Rows of D values: where each comes from. Numbers count rows of D in a flattened tensor."""

    query_heads: int
    kv_heads: int
    rows: int
    """Z."""
    query_ZGT: Tensor
    """Of [N, H], for every place of the queries."""
    empty_E: Tensor
    """Which of these places have no token."""
    key_ZS: Tensor
    """Of the table of keys [Q + N, K]."""
    output_NH: Tensor
    """Of the places of the queries, for every token's head."""
    token_NK: Tensor
    """Of the places of the keys, for every token's head."""

    @classmethod
    def for_layout(cls, layout: PackedLayout, kv_heads: int, heads: int) -> "HeadIndices":
        """The indices for so many heads; `layout` remembers them."""
        known: HeadIndices | None = layout.head_indices.get((kv_heads, heads))
        if known is None:
            known = layout.head_indices[kv_heads, heads] = cls._build(layout, kv_heads, heads)
        return known

    @classmethod
    def _build(cls, layout: PackedLayout, kv_heads: int, heads: int) -> "HeadIndices":
        rows, queries, keys = layout.shape
        device = layout.query_BT.device
        head_K, head_H = torch.arange(kv_heads, device=device), torch.arange(heads, device=device)
        empty_BT = layout.query_BT == len(layout.place_N)
        token_BT = torch.where(empty_BT, layout.query_BT[:, :1], layout.query_BT)
        first_token_B1 = layout.slot_BS[:, layout.longest_prefix, None]
        nothing = layout.slot_BS == len(layout.owned_Q) + len(layout.key_place_N)
        slot_BS = torch.where(nothing, first_token_B1, layout.slot_BS)
        return cls(
            query_heads=heads,
            kv_heads=kv_heads,
            rows=rows * kv_heads,
            query_ZGT=(token_BT[:, None] * heads + head_H[:, None]).flatten(),
            empty_E=empty_BT[:, None].expand(-1, heads, -1).flatten().nonzero()[:, 0],
            key_ZS=(slot_BS[:, None] * kv_heads + head_K[:, None]).flatten(),
            output_NH=_repeat_over_heads(layout.place_N, queries, heads),
            token_NK=_repeat_over_heads(layout.key_place_N, keys, kv_heads),
        )

    def gather_queries(self, query_NHD: Tensor) -> Tensor:
        """Every row's queries, [Z, G * T, D]."""
        size = query_NHD.shape[2]
        return query_NHD.reshape(-1, size).index_select(0, self.query_ZGT).view(self.rows, -1, size)

    def gather_gradients(self, grad_NHD: Tensor) -> Tensor:
        """As `gather_queries`, with zeros where there is no token."""
        size = grad_NHD.shape[2]
        flat = grad_NHD.reshape(-1, size).index_select(0, self.query_ZGT)
        return flat.index_fill_(0, self.empty_E, 0.0).view(self.rows, -1, size)

    def gather_keys(self, slots_QKD: Tensor, tokens_NKD: Tensor) -> Tensor:
        """Every row's slots and tokens, [Z, S, D]."""
        size = tokens_NKD.shape[2]
        table = torch.cat([slots_QKD, tokens_NKD]).view(-1, size)
        return table.index_select(0, self.key_ZS).view(self.rows, -1, size)

    def gather_tokens(self, output_ZTD: Tensor) -> Tensor:
        """What the queries' places hold, token by token, [N, H, D]."""
        size = output_ZTD.shape[2]
        return output_ZTD.reshape(-1, size).index_select(0, self.output_NH).view(-1, self.query_heads, size)

    def gather_key_tokens(self, grad_ZSD: Tensor) -> Tensor:
        """What the keys' places hold, token by token, [N, K, D]."""
        size = grad_ZSD.shape[2]
        return grad_ZSD.reshape(-1, size).index_select(0, self.token_NK).view(-1, self.kv_heads, size)


def _repeat_over_heads(place_N: Tensor, width: int, heads: int) -> Tensor:
    """Places in B x `width` as places in B x `heads` x `width`, for every head."""
    row_N, column_N = place_N // width, place_N % width
    head_H = torch.arange(heads, device=place_N.device)
    return ((row_N[:, None] * heads + head_H) * width + column_N[:, None]).flatten()
