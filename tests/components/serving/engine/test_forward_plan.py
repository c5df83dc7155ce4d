"""A plan that is made from the last one is the plan that would be built, and only the next column has one."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from components.model.base.attention_scores import ScoreRule
from components.model.base.token_spans import ALL_TOKENS, TokenSpan
from components.serving.engine.block_attention import GatheredBackend
from components.serving.engine.block_pool import BLOCK_COLUMNS
from components.serving.engine.cache_spans import CacheSpan
from components.serving.engine.forward_plan import ForwardPlan

HEADS, SIZE, BLOCKS = 2, 8, 24


def make_span(*blocks: int, cached: int, slots: tuple[int, int] = (2, 5), tokens: int = 1) -> CacheSpan:
    return CacheSpan(blocks, cached, tokens, slots)


def next_column(spans: Sequence[CacheSpan]) -> list[CacheSpan]:
    return [replace(span, cached_columns=span.cached_columns + 1) for span in spans]


@pytest.mark.parametrize(
    "spans",
    [
        [make_span(3, 9, cached=40)],
        [make_span(3, 9, cached=40), make_span(4, 2, cached=40)],
        [make_span(3, 9, cached=40), make_span(4, cached=7, slots=(0, 0)), make_span(1, 0, 2, cached=70)],
    ],
    ids=["one branch", "two of the same length", "three"],
)
def test_an_advanced_plan_is_the_one_that_would_be_built(spans: Sequence[CacheSpan]) -> None:
    torch.manual_seed(0)
    layer_2BHSD = torch.randn(2, BLOCKS, HEADS, BLOCK_COLUMNS, SIZE)
    query_NXD = torch.randn(len(spans), 2 * HEADS, SIZE)
    plan = ForwardPlan.build(spans, [[7]] * len(spans), layer_2BHSD)
    for step in range(3):
        spans, ids = next_column(spans), [[10 * step + number] for number in range(len(spans))]
        advanced, built = plan.advance(spans, ids), ForwardPlan.build(spans, ids, layer_2BHSD)
        assert advanced is not None
        for name in ("id_1N", "column_1N", "write_index_F"):
            assert torch.equal(getattr(advanced, name), getattr(built, name))
        assert advanced.last_tokens == built.last_tokens
        ((*tokens, backend),) = advanced.backends
        ((*expected_tokens, expected),) = built.backends
        assert tokens == expected_tokens
        for token_span in (ALL_TOKENS, TokenSpan("window", 30)):
            for rule in (ScoreRule(0.4), ScoreRule(0.4, 1.5)):
                call = (query_NXD, layer_2BHSD, rule, token_span)
                assert torch.equal(backend.attend(*call), expected.attend(*call))
        plan = advanced


FIRST, SECOND = make_span(3, 9, cached=40), make_span(4, 2, cached=50)


@pytest.mark.parametrize(
    "after",
    [
        [FIRST, SECOND],
        next_column([FIRST]),
        next_column([SECOND, FIRST]),
        next_column([FIRST, SECOND, FIRST]),
        [*next_column([FIRST]), SECOND],
        next_column([FIRST, make_span(4, 5, cached=50)]),
        next_column([FIRST, make_span(4, 2, 8, cached=50)]),
        next_column([FIRST, make_span(4, 2, cached=50, tokens=2)]),
        next_column([FIRST, make_span(4, 2, cached=50, slots=(0, 0))]),
    ],
    ids=["again", "fewer", "reordered", "more", "one stays", "block", "next block", "tokens", "slots"],
)
def test_any_other_pass_is_planned_anew(after: Sequence[CacheSpan]) -> None:
    layer_2BHSD = torch.zeros(2, BLOCKS, HEADS, BLOCK_COLUMNS, SIZE)
    plan = ForwardPlan.build([FIRST, SECOND], [[7], [8]], layer_2BHSD)
    assert isinstance(plan.backends[0][2], GatheredBackend)
    assert plan.advance(after, [[9] * span.new_tokens for span in after]) is None
    assert plan.advance(next_column([FIRST, SECOND]), [[9], [9]]) is not None


def test_many_branches_are_planned_anew() -> None:
    layer_2BHSD = torch.zeros(2, BLOCKS, HEADS, BLOCK_COLUMNS, SIZE)
    spans = [make_span(block, cached=9) for block in range(20)]
    plan = ForwardPlan.build(spans, [[7]] * 20, layer_2BHSD)
    assert plan.advance(next_column(spans), [[9]] * 20) is None
