"""Both backends give the same as plain attention over each branch's own columns."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from components.model.base.attention_scores import ScoreRule
from components.model.base.token_spans import ALL_TOKENS, TokenSpan
from components.serving.engine.block_attention import GatheredBackend, order_for_attention, plan_attention
from components.serving.engine.block_pool import BLOCK_COLUMNS
from components.serving.engine.blockwise_attention import BlockwiseBackend
from components.serving.engine.cache_spans import CacheSpan
from components.serving.engine.shared_block_attention import SharedBlocksBackend

HEADS, SIZE = 2, 8
PLAIN = ScoreRule(SIZE**-0.5)
LENGTHS = ((0, 1), (31, 1), (32, 1), (200, 1), (70, 1), (5, 1), (10, 3), (0, 40), (150, 30))
"""Cached columns and new tokens of each branch."""


def _spans(lengths: Sequence[tuple[int, int]], blocks: int) -> list[CacheSpan]:
    free = iter(torch.randperm(blocks).tolist())
    return [
        CacheSpan(
            [next(free) for _ in range(-(-(used + tokens) // BLOCK_COLUMNS))],
            used,
            tokens,
            slot_columns=(used // 3, used // 2),
        )
        for used, tokens in lengths
    ]


def _plain(
    span: CacheSpan, query_TXD: Tensor, layer_2BHSD: Tensor, rule: ScoreRule, token_span: TokenSpan = ALL_TOKENS
) -> Tensor:
    key_HCD, value_HCD = (side[list(span.blocks)].transpose(0, 1).flatten(1, 2) for side in layer_2BHSD)
    groups = query_TXD.shape[1] // HEADS
    seen_TC = torch.arange(key_HCD.shape[1]) <= span.cached_columns + torch.arange(span.new_tokens)[:, None]
    first, end = span.slot_columns
    tokens = [column for column in range(seen_TC.shape[1]) if not first <= column < end]
    for row, column in enumerate(range(span.cached_columns, span.cached_columns + span.new_tokens)):
        for other in range(seen_TC.shape[1]):
            if other in tokens and token_span != ALL_TOKENS:
                mine, theirs = tokens.index(column), tokens.index(other)
                is_window = token_span.kind == "window"
                near = mine - theirs < 40 if is_window else mine // 40 == theirs // 40
                seen_TC[row, other] &= near
    score_XTC = rule.scale * query_TXD.transpose(0, 1) @ key_HCD.repeat_interleave(groups, 0).transpose(1, 2)
    if rule.softcap is not None:
        score_XTC = rule.softcap * (score_XTC / rule.softcap).tanh()
    score_XTC = score_XTC.masked_fill(~seen_TC, -torch.inf)
    if rule.sink_X is not None:
        score_XTC = torch.cat([score_XTC, rule.sink_X[:, None, None].expand(-1, len(seen_TC), 1)], dim=2)
    weight_XTC = score_XTC.softmax(dim=2)[:, :, : seen_TC.shape[1]]
    return (weight_XTC @ value_HCD.repeat_interleave(groups, 0)).transpose(0, 1)


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
    outputs = [backend.attend(query_NXD[start:end], layer_2BHSD, PLAIN) for start, end, backend in plan]
    output_NXD = torch.cat(outputs)
    start = 0
    for span in spans:
        end = start + span.new_tokens
        torch.testing.assert_close(output_NXD[start:end], _plain(span, query_NXD[start:end], layer_2BHSD, PLAIN))
        start = end


@pytest.mark.parametrize("token_span", [ALL_TOKENS, TokenSpan("window", 40), TokenSpan("chunk", 40)], ids=str)
@pytest.mark.parametrize("lengths", [LENGTHS, LENGTHS[:1], LENGTHS[6:]], ids=len)
def test_windows_spare_the_slots_and_caps_and_sinks_count(
    lengths: Sequence[tuple[int, int]], token_span: TokenSpan
) -> None:
    torch.manual_seed(1)
    layer_2BHSD, spans = torch.randn(2, 24, HEADS, BLOCK_COLUMNS, SIZE), _spans(lengths, 24)
    spans = [spans[number] for number in order_for_attention(spans)]
    query_NXD = torch.randn(sum(span.new_tokens for span in spans), HEADS * 2, SIZE)
    for rule in (PLAIN, ScoreRule(0.4, 1.5), ScoreRule(0.4, None, torch.randn(HEADS * 2))):
        start = 0
        for first, end, backend in plan_attention(spans, layer_2BHSD):
            output_NXD = backend.attend(query_NXD[first:end], layer_2BHSD, rule, token_span)
            while start < end:
                span = spans.pop(0)
                spans.append(span)
                of_branch = slice(start, start + span.new_tokens)
                expected = _plain(span, query_NXD[of_branch], layer_2BHSD, rule, token_span)
                found = output_NXD[start - first : start - first + span.new_tokens]
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
                start += span.new_tokens


def test_nan_in_the_blocks_of_one_branch_does_not_reach_another() -> None:
    layer_2BHSD, spans = torch.randn(2, 24, HEADS, BLOCK_COLUMNS, SIZE), _spans(LENGTHS[:6], 24)
    query_RXD = torch.randn(6, HEADS, SIZE)
    before_RXD = BlockwiseBackend.build(spans, layer_2BHSD).attend(query_RXD, layer_2BHSD, ScoreRule(1.0))
    idle = set(range(24)) - {block for span in spans for block in span.blocks}
    layer_2BHSD[:, [*spans[3].blocks, *idle]] = torch.nan
    after_RXD = BlockwiseBackend.build(spans, layer_2BHSD).attend(query_RXD, layer_2BHSD, ScoreRule(1.0))
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


@pytest.mark.parametrize("blocks", [range(15), (7, 190, 30, 2, *range(50, 150, 9))], ids=["neighbours", "scattered"])
def test_blocks_that_branches_share_are_computed_once(blocks: Sequence[int]) -> None:
    torch.manual_seed(2)
    layer_2BHSD, free = torch.randn(2, 200, HEADS, BLOCK_COLUMNS, SIZE), list(blocks)

    def take(count: int) -> list[int]:
        taken = free[:count]
        del free[:count]
        return taken

    first, second, other = take(2), take(1), take(1)
    tables = [[*first, *second, *take(1)], [*first, *second, *take(1)], [*first, *take(2)], take(5)]
    tables += [[*other, *take(1)], [*other, *take(1)]]
    spans = [
        CacheSpan(table, used, 1, slot_columns=(used // 3, used // 2))
        for table, used in zip(tables, (100, 100, 100, 140, 40, 40), strict=True)
    ]
    query_RXD = torch.randn(len(spans), HEADS * 2, SIZE)
    backend = SharedBlocksBackend.build(spans, layer_2BHSD)
    shared, own = backend.parts
    assert (shared.users, own.users) == (3, 1)
    for token_span in (ALL_TOKENS, TokenSpan("window", 40), TokenSpan("chunk", 40)):
        for rule in (PLAIN, ScoreRule(0.4, 1.5), ScoreRule(0.4, None, torch.randn(HEADS * 2))):
            output_RXD = backend.attend(query_RXD, layer_2BHSD, rule, token_span)
            for row, span in enumerate(spans):
                expected = _plain(span, query_RXD[row : row + 1], layer_2BHSD, rule, token_span)
                torch.testing.assert_close(output_RXD[row : row + 1], expected, rtol=1e-4, atol=1e-5)
    for times, expected_class in ((1, GatheredBackend), (3, SharedBlocksBackend)):
        ((_, _, chosen),) = plan_attention(spans * times, layer_2BHSD)
        assert isinstance(chosen, expected_class)
