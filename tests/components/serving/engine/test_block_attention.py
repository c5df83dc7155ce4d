"""Both backends give the same as plain attention over each branch's own columns."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from components.serving.engine.block_attention import (
    BlockwiseBackend,
    CacheSpan,
    GatheredBackend,
    order_for_attention,
    plan_attention,
)
from components.serving.engine.block_pool import BLOCK_COLUMNS

HEADS, SIZE = 2, 8
LENGTHS = ((0, 1), (31, 1), (32, 1), (200, 1), (70, 1), (5, 1), (10, 3), (0, 40), (150, 30))
"""Cached columns and new tokens of each branch."""


def _spans(lengths: Sequence[tuple[int, int]], blocks: int) -> list[CacheSpan]:
    free = iter(torch.randperm(blocks).tolist())
    return [
        CacheSpan([next(free) for _ in range(-(-(used + tokens) // BLOCK_COLUMNS))], used, tokens)
        for used, tokens in lengths
    ]


def _plain(span: CacheSpan, query_TXD: Tensor, layer_2BHSD: Tensor) -> Tensor:
    key_HCD, value_HCD = (side[list(span.blocks)].transpose(0, 1).flatten(1, 2) for side in layer_2BHSD)
    groups = query_TXD.shape[1] // HEADS
    seen_TC = torch.arange(key_HCD.shape[1]) <= span.cached_columns + torch.arange(span.new_tokens)[:, None]
    output_XTD = scaled_dot_product_attention(
        query_TXD.transpose(0, 1),
        key_HCD.repeat_interleave(groups, 0),
        value_HCD.repeat_interleave(groups, 0),
        attn_mask=seen_TC,
    )
    return output_XTD.transpose(0, 1)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("blocks", [24, 200])
@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS[:6], LENGTHS[:1], LENGTHS[1:3], LENGTHS[6:]], ids=len)
def test_every_token_sees_its_own_branchs_columns_up_to_itself(
    lengths: Sequence[tuple[int, int]], blocks: int, groups: int
) -> None:
    torch.manual_seed(blocks + groups)
    layer_2BHSD, spans = torch.randn(2, blocks, HEADS, BLOCK_COLUMNS, SIZE), _spans(lengths, blocks)
    spans = [spans[number] for number in order_for_attention(spans)]
    query_NXD = torch.randn(sum(span.new_tokens for span in spans), HEADS * groups, SIZE)
    plan = plan_attention(spans, layer_2BHSD)
    outputs = [backend.attend(query_NXD[start:end], layer_2BHSD, SIZE**-0.5) for start, end, backend in plan]
    output_NXD = torch.cat(outputs)
    start = 0
    for span in spans:
        end = start + span.new_tokens
        torch.testing.assert_close(output_NXD[start:end], _plain(span, query_NXD[start:end], layer_2BHSD))
        start = end


def test_nan_in_the_blocks_of_one_branch_does_not_reach_another() -> None:
    layer_2BHSD, spans = torch.randn(2, 24, HEADS, BLOCK_COLUMNS, SIZE), _spans(LENGTHS[:6], 24)
    query_RXD = torch.randn(6, HEADS, SIZE)
    before_RXD = BlockwiseBackend.build(spans, layer_2BHSD).attend(query_RXD, layer_2BHSD, 1.0)
    idle = set(range(24)) - {block for span in spans for block in span.blocks}
    layer_2BHSD[:, [*spans[3].blocks, *idle]] = torch.nan
    after_RXD = BlockwiseBackend.build(spans, layer_2BHSD).attend(query_RXD, layer_2BHSD, 1.0)
    others = [0, 1, 2, 4, 5]
    assert torch.equal(after_RXD[others], before_RXD[others])
    assert after_RXD[3].isnan().all()


def test_many_branches_with_one_token_copy_nothing_and_a_long_one_does_not_widen_the_short_ones() -> None:
    layer_2BHSD, spans = torch.randn(2, 200, HEADS, BLOCK_COLUMNS, SIZE), _spans([(40, 1)] * 31 + [(900, 1)], 95)
    ((_, _, backend),) = plan_attention(spans, layer_2BHSD)
    assert isinstance(backend, BlockwiseBackend)
    assert isinstance(backend.blocks, slice)
    assert len(backend.branch_E) <= 95
    long = _spans([(0, 20), (30, 30), (880, 20)], 95)
    plan = plan_attention([long[number] for number in order_for_attention(long)], layer_2BHSD)
    columns = [one.columns for _, _, one in plan if isinstance(one, GatheredBackend)]
    assert columns == [60, 900]
