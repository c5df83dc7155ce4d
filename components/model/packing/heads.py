"""Copy packed rows to the operands of batched products, head by head, and back, by indices computed once per layout.

A padded column repeats the first token of its own row, so that values that are not finite stay within their row.
Knows layouts and tensors; does not know attention.

Shapes: those of `components.model.packing.layout`; H query heads, K key/value heads, G = H / K, D head size, Q slots of
all prefixes, Z = B * K; E padded columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from components.model.packing.layout import PackedLayout


@dataclass(frozen=True, slots=True)
class HeadIndices:
    """Indices of rows of D values in tensors flattened to [rows, D], for one layout and numbers of heads."""

    query_heads: int
    kv_heads: int
    rows: int
    """Z."""
    query_ZGT: Tensor
    """Index into the queries [N, H], for every column of every row."""
    empty_E: Tensor
    """Indices of `query_ZGT` without a token (padding)."""
    key_ZS: Tensor
    """Index into slots and tokens [Q + N, K], for every key column of every row."""
    output_NH: Tensor
    """Index into the padded queries, for every head of every token."""
    token_NK: Tensor
    """Index into the padded keys, for every head of every token."""

    @classmethod
    def for_layout(cls, layout: PackedLayout, kv_heads: int, heads: int) -> "HeadIndices":
        """Return the indices for these numbers of heads, cached in `layout`."""
        known: HeadIndices | None = layout.head_indices.get((kv_heads, heads))
        if known is None:
            known = layout.head_indices[kv_heads, heads] = cls._build(layout, kv_heads, heads)
        return known

    @classmethod
    def _build(cls, layout: PackedLayout, kv_heads: int, heads: int) -> "HeadIndices":
        rows, queries, keys = layout.shape
        device = layout.query_BT.device
        head_K, head_H = torch.arange(kv_heads, device=device), torch.arange(heads, device=device)
        empty_BT = layout.query_BT == len(layout.padded_query_N)
        token_BT = torch.where(empty_BT, layout.query_BT[:, :1], layout.query_BT)
        first_token_B1 = layout.key_BS[:, layout.longest_prefix, None]
        is_empty_BS = layout.key_BS == len(layout.padded_slot_Q) + len(layout.padded_key_N)
        key_BS = torch.where(is_empty_BS, first_token_B1, layout.key_BS)
        return cls(
            query_heads=heads,
            kv_heads=kv_heads,
            rows=rows * kv_heads,
            query_ZGT=(token_BT[:, None] * heads + head_H[:, None]).flatten(),
            empty_E=empty_BT[:, None].expand(-1, heads, -1).flatten().nonzero()[:, 0],
            key_ZS=(key_BS[:, None] * kv_heads + head_K[:, None]).flatten(),
            output_NH=_repeat_over_heads(layout.padded_query_N, queries, heads),
            token_NK=_repeat_over_heads(layout.padded_key_N, keys, kv_heads),
        )

    def gather_queries(self, query_NHD: Tensor) -> Tensor:
        """Return every row's queries, [Z, G * T, D]."""
        size = query_NHD.shape[2]
        return query_NHD.reshape(-1, size).index_select(0, self.query_ZGT).view(self.rows, -1, size)

    def gather_gradients(self, grad_NHD: Tensor) -> Tensor:
        """Return every row's gradients as `gather_queries`, with zeros in padded columns."""
        size = grad_NHD.shape[2]
        flat = grad_NHD.reshape(-1, size).index_select(0, self.query_ZGT)
        return flat.index_fill_(0, self.empty_E, 0.0).view(self.rows, -1, size)

    def gather_keys(self, slots_QKD: Tensor, tokens_NKD: Tensor) -> Tensor:
        """Return every row's slots and tokens, [Z, S, D]."""
        size = tokens_NKD.shape[2]
        table = torch.cat([slots_QKD, tokens_NKD]).view(-1, size)
        return table.index_select(0, self.key_ZS).view(self.rows, -1, size)

    def gather_tokens(self, output_ZTD: Tensor) -> Tensor:
        """Return the values of the padded queries in the order of the tokens, [N, H, D]."""
        size = output_ZTD.shape[2]
        return output_ZTD.reshape(-1, size).index_select(0, self.output_NH).view(-1, self.query_heads, size)

    def gather_key_tokens(self, grad_ZSD: Tensor) -> Tensor:
        """Return the values of the padded keys in the order of the tokens, [N, K, D]."""
        size = grad_ZSD.shape[2]
        return grad_ZSD.reshape(-1, size).index_select(0, self.token_NK).view(-1, self.kv_heads, size)


def _repeat_over_heads(index_N: Tensor, width: int, heads: int) -> Tensor:
    """Turn indices into B x `width` into indices into B x `heads` x `width`, for every head."""
    row_N, column_N = index_N // width, index_N % width
    head_H = torch.arange(heads, device=index_N.device)
    return ((row_N[:, None] * heads + head_H) * width + column_N[:, None]).flatten()
