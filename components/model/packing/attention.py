"""Attention of packed rows, each behind its own prefix: two ways that give the same but for rounding.

`attend_packed_fused` computes products, softmax and gradients itself: on a CPU the products of short rows are several
times faster than torch's own attention and its backward. `attend_packed_with_sdpa` lays the rows side by side and
leaves the rest to torch. Knows layouts and tensors; does not know models.

Shapes: N tokens, H query heads, K key/value heads, G = H / K, D head size, Q slots of all prefixes, and those of
`components.model.packing.layout`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from components.model.packing.heads import HeadIndices
from components.model.packing.layout import PackedLayout

_MAX_FUSED_SCORES = 2**26
"""From so many scores on (256 MiB in float32) `attend_packed_fused` would keep too much for backward."""


def attend_packed(
    query_NHD: Tensor,
    key_NKD: Tensor,
    value_NKD: Tensor,
    prefix: tuple[Tensor, Tensor],
    layout: PackedLayout,
    scale: float,
) -> Tensor:
    """What every token attends to, [N, H, D]: the slots of its row's prefix and the tokens of its row up to itself.

    `prefix` holds the keys and the values of all slots, each [Q, K, D]; gradients flow to them and to the tokens.
    """
    rows, queries, keys = layout.shape
    small = rows * query_NHD.shape[1] * queries * keys <= _MAX_FUSED_SCORES
    way = attend_packed_fused if query_NHD.device.type == "cpu" and small else attend_packed_with_sdpa
    return way(query_NHD, key_NKD, value_NKD, prefix, layout, scale)


def attend_packed_with_sdpa(
    query_NHD: Tensor,
    key_NKD: Tensor,
    value_NKD: Tensor,
    prefix: tuple[Tensor, Tensor],
    layout: PackedLayout,
    scale: float,
) -> Tensor:
    """`attend_packed` by torch's scaled-dot-product attention."""
    groups = query_NHD.shape[1] // key_NKD.shape[1]

    def keys(slots_QKD: Tensor, tokens_NKD: Tensor) -> Tensor:
        table = torch.cat([slots_QKD, tokens_NKD, tokens_NKD.new_zeros(1, *tokens_NKD.shape[1:])])
        return table[layout.slot_BS].transpose(1, 2).repeat_interleave(groups, dim=1)

    query_BHTD = torch.cat([query_NHD, query_NHD.new_zeros(1, *query_NHD.shape[1:])])[layout.query_BT].transpose(1, 2)
    output_BHTD = scaled_dot_product_attention(
        query_BHTD,
        keys(prefix[0], key_NKD),
        keys(prefix[1], value_NKD),
        attn_mask=~layout.hidden_BTS[:, None],
        scale=scale,
    )
    return output_BHTD.transpose(1, 2).flatten(0, 1)[layout.place_N]


def attend_packed_fused(
    query_NHD: Tensor,
    key_NKD: Tensor,
    value_NKD: Tensor,
    prefix: tuple[Tensor, Tensor],
    layout: PackedLayout,
    scale: float,
) -> Tensor:
    """`attend_packed` by batched products, with its own backward."""
    output: Tensor = _FusedAttentionFunction.apply(query_NHD, key_NKD, value_NKD, *prefix, layout, scale)  # type: ignore[no-untyped-call]
    return output


class _FusedAttentionFunction(torch.autograd.Function):
    """Rows and key/value heads are one axis of the products, Z = B * K; a key's G queries stand one after another."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        slots: Tensor,
        values: Tensor,
        layout: PackedLayout,
        scale: float,
    ) -> Tensor:
        heads = HeadIndices.for_layout(layout, key.shape[1], query.shape[1])
        query_ZTD = heads.gather_queries(query)
        key_ZSD, value_ZSD = heads.gather_keys(slots, key), heads.gather_keys(values, value)
        score_ZTS = torch.bmm(query_ZTD, key_ZSD.transpose(1, 2)).mul_(scale)
        score_BXTS = score_ZTS.view(layout.shape[0], -1, *layout.shape[1:])
        score_BXTS.masked_fill_(layout.hidden_BTS[:, None], torch.finfo(score_ZTS.dtype).min)
        chance_ZTS = score_ZTS.softmax(dim=-1)
        ctx.save_for_backward(query_ZTD, key_ZSD, value_ZSD, chance_ZTS)
        ctx.layout, ctx.heads, ctx.scale = layout, heads, scale
        return heads.gather_tokens(torch.bmm(chance_ZTS, value_ZSD))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query_ZTD, key_ZSD, value_ZSD, chance_ZTS = ctx.saved_tensors
        heads: HeadIndices = ctx.heads
        grad_ZTD = heads.gather_gradients(grads[0])
        value_grad_ZSD = torch.bmm(chance_ZTS.transpose(1, 2), grad_ZTD)
        score_ZTS = torch.bmm(grad_ZTD, value_ZSD.transpose(1, 2))
        score_ZTS = torch._softmax_backward_data(score_ZTS, chance_ZTS, -1, chance_ZTS.dtype).mul_(ctx.scale)
        key_grad_ZSD = torch.bmm(score_ZTS.transpose(1, 2), query_ZTD)
        needs = ctx.needs_input_grad
        return (
            heads.gather_tokens(torch.bmm(score_ZTS, key_ZSD)) if needs[0] else None,
            heads.gather_key_tokens(key_grad_ZSD) if needs[1] else None,
            heads.gather_key_tokens(value_grad_ZSD) if needs[2] else None,
            _sum_slot_gradients(key_grad_ZSD, ctx.layout, heads.kv_heads) if needs[3] else None,
            _sum_slot_gradients(value_grad_ZSD, ctx.layout, heads.kv_heads) if needs[4] else None,
            None,
            None,
        )


def _sum_slot_gradients(grad_ZSD: Tensor, layout: PackedLayout, kv_heads: int) -> Tensor:
    """The sum over each prefix's rows, [Q, K, D]; a row that is not finite touches its own prefix alone."""
    grad_BKSD = grad_ZSD.view(layout.shape[0], kv_heads, *grad_ZSD.shape[1:])
    grad_BPKD = grad_BKSD[:, :, : layout.longest_prefix].transpose(1, 2)
    grad_BW = grad_BPKD.flatten(1).float()  # index_add_ is slow on other strides
    sum_UW = grad_BW.new_zeros(layout.prefix_count, grad_BW.shape[1]).index_add_(0, layout.owner_B, grad_BW)
    return sum_UW.view(-1, kv_heads, grad_ZSD.shape[2])[layout.owned_Q].to(grad_ZSD.dtype)
