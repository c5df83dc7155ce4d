"""Attention of packed rows, each with its own prefix: two implementations with the same result up to rounding.

`attend_packed_fused` computes products, softmax and gradients itself. For short rows on a CPU it is several times as
fast as torch's attention, and on every device its gradients are the same in every run, which those of torch's attention
with a mask on a GPU are not. `attend_packed_with_sdpa` pads the rows and calls torch's attention. Knows layouts and
tensors; does not know models.

Shapes: N tokens, H query heads, K key/value heads, G = H / K, D head size, Q slots of all prefixes, and those of
`components.model.packing.layout`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from components.model.base.attention_scores import ScoreRule, attend_by_rule, compute_weights
from components.model.base.row_sums import add_rows
from components.model.base.token_spans import ALL_TOKENS, TokenSpan
from components.model.packing.heads import HeadIndices
from components.model.packing.layout import PackedLayout

MAX_FUSED_SCORES = 2**26
"""Most attention scores (256 MiB in float32) that `attend_packed_fused` may save for backward."""


def attend_packed(
    query_NHD: Tensor,
    key_NKD: Tensor,
    value_NKD: Tensor,
    prefix: tuple[Tensor, Tensor],
    layout: PackedLayout,
    rule: ScoreRule,
    span: TokenSpan = ALL_TOKENS,
) -> Tensor:
    """Attend from every token to the slots of its row's prefix and to its span of the row's tokens. Return [N, H, D].

    `prefix` holds the keys and the values of all slots, each [Q, K, D]. Gradients flow to slots and tokens, not to
    sinks. The fused implementation is used, unless it would save too many scores.
    """
    rows, queries, keys = layout.shape
    small = rows * query_NHD.shape[1] * queries * keys <= MAX_FUSED_SCORES
    attend = attend_packed_fused if small else attend_packed_with_sdpa
    return attend(query_NHD, key_NKD, value_NKD, prefix, layout, rule, span)


def attend_packed_with_sdpa(
    query_NHD: Tensor,
    key_NKD: Tensor,
    value_NKD: Tensor,
    prefix: tuple[Tensor, Tensor],
    layout: PackedLayout,
    rule: ScoreRule,
    span: TokenSpan = ALL_TOKENS,
) -> Tensor:
    """Compute `attend_packed` by torch's scaled-dot-product attention."""
    groups = query_NHD.shape[1] // key_NKD.shape[1]

    def pad_keys(slots_QKD: Tensor, tokens_NKD: Tensor) -> Tensor:
        table = torch.cat([slots_QKD, tokens_NKD, tokens_NKD.new_zeros(1, *tokens_NKD.shape[1:])])
        return table[layout.key_BS].transpose(1, 2).repeat_interleave(groups, dim=1)

    query_BHTD = torch.cat([query_NHD, query_NHD.new_zeros(1, *query_NHD.shape[1:])])[layout.query_BT].transpose(1, 2)
    key_BHSD, value_BHSD = pad_keys(prefix[0], key_NKD), pad_keys(prefix[1], value_NKD)
    seen_B1TS = ~layout.hide_beyond(span)[:, None]
    if rule.is_plain:
        output_BHTD = scaled_dot_product_attention(
            query_BHTD, key_BHSD, value_BHSD, attn_mask=seen_B1TS, scale=rule.scale
        )
    else:
        output_BHTD = attend_by_rule(query_BHTD, key_BHSD, value_BHSD, seen_B1TS, rule)
    return output_BHTD.transpose(1, 2).flatten(0, 1)[layout.padded_query_N]


def attend_packed_fused(
    query_NHD: Tensor,
    key_NKD: Tensor,
    value_NKD: Tensor,
    prefix: tuple[Tensor, Tensor],
    layout: PackedLayout,
    rule: ScoreRule,
    span: TokenSpan = ALL_TOKENS,
) -> Tensor:
    """Compute `attend_packed` by batched products, with its own backward."""
    output: Tensor = _FusedAttentionFunction.apply(query_NHD, key_NKD, value_NKD, *prefix, layout, rule, span)  # type: ignore[no-untyped-call]
    return output


class _FusedAttentionFunction(torch.autograd.Function):
    """Rows and key/value heads are one axis of the products, Z = B * K; a key head's G query heads are adjacent.

    The share of a sink in the softmax meets no value, so that `backward` is the same with it and without.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        slots: Tensor,
        values: Tensor,
        layout: PackedLayout,
        rule: ScoreRule,
        span: TokenSpan,
    ) -> Tensor:
        heads = HeadIndices.for_layout(layout, key.shape[1], query.shape[1])
        query_ZTD = heads.gather_queries(query)
        key_ZSD, value_ZSD = heads.gather_keys(slots, key), heads.gather_keys(values, value)
        score_ZTS = rule.cap(torch.bmm(query_ZTD, key_ZSD.transpose(1, 2)).mul_(rule.scale))
        slope_ZTS = None if rule.softcap is None else 1 - (score_ZTS / rule.softcap).square()
        score_BXTS = score_ZTS.view(layout.shape[0], -1, *layout.shape[1:])
        score_BXTS.masked_fill_(layout.hide_beyond(span)[:, None], torch.finfo(score_ZTS.dtype).min)
        if rule.sink_X is None:
            chance_ZTS = score_ZTS.softmax(dim=-1)
        else:
            chance_ZTS = compute_weights(score_BXTS, rule.sink_X).to(score_ZTS.dtype).view_as(score_ZTS)
        ctx.save_for_backward(query_ZTD, key_ZSD, value_ZSD, chance_ZTS, slope_ZTS)
        ctx.layout, ctx.heads, ctx.scale = layout, heads, rule.scale
        return heads.gather_tokens(torch.bmm(chance_ZTS, value_ZSD))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query_ZTD, key_ZSD, value_ZSD, chance_ZTS, slope_ZTS = ctx.saved_tensors
        heads: HeadIndices = ctx.heads
        grad_ZTD = heads.gather_gradients(grads[0])
        value_grad_ZSD = torch.bmm(chance_ZTS.transpose(1, 2), grad_ZTD)
        score_ZTS = torch.bmm(grad_ZTD, value_ZSD.transpose(1, 2))
        score_ZTS = torch._softmax_backward_data(score_ZTS, chance_ZTS, -1, chance_ZTS.dtype).mul_(ctx.scale)
        score_ZTS = score_ZTS if slope_ZTS is None else score_ZTS.mul_(slope_ZTS)
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
            None,
        )


def _sum_slot_gradients(grad_ZSD: Tensor, layout: PackedLayout, kv_heads: int) -> Tensor:
    """Sum the gradients over each prefix's rows, [Q, K, D]; a row that is not finite affects only its own prefix."""
    grad_BKSD = grad_ZSD.view(layout.shape[0], kv_heads, *grad_ZSD.shape[1:])
    grad_BPKD = grad_BKSD[:, :, : layout.longest_prefix].transpose(1, 2)
    grad_BW = grad_BPKD.flatten(1).float()  # contiguous rows: index_add_ is slow otherwise
    sum_UW = add_rows(grad_BW.new_zeros(layout.prefix_count, grad_BW.shape[1]), layout.owner_B, grad_BW)
    return sum_UW.view(-1, kv_heads, grad_ZSD.shape[2])[layout.padded_slot_Q].to(grad_ZSD.dtype)
