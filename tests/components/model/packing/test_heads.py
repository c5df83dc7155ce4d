"""Indices of heads: queries and keys gathered by them, against the layout, token by token."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.model.packing.heads import HeadIndices

MANY = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KV_HEADS, GROUPS, SIZE = 2, 3, 4


@MANY
@given(data=st.data())
def test_tokens_return_in_order_and_padding_repeats_the_rows_first_token(ragged, data):
    drawn = data.draw(ragged)
    layout, tokens = drawn.layout(), len(drawn.tokens)
    rows, columns, _ = layout.shape
    heads = HeadIndices.for_layout(layout, KV_HEADS, KV_HEADS * GROUPS)
    query = torch.arange(float(tokens * KV_HEADS * GROUPS * SIZE)).view(tokens, KV_HEADS * GROUPS, SIZE)
    padded = heads.gather_queries(query)
    assert torch.equal(heads.gather_tokens(padded), query)
    by_row = padded.view(rows, KV_HEADS * GROUPS, columns, SIZE)
    starts = [number for number, (_, column) in enumerate(drawn.tokens) if column == 0]
    for row, length in enumerate(drawn.lengths):
        for column in range(length, columns):
            assert torch.equal(by_row[row, :, column], query[starts[row]])
    gradients = heads.gather_gradients(query).view_as(by_row)
    is_padding = layout.query_BT == tokens
    assert not gradients.transpose(1, 2)[is_padding].any()


@MANY
@given(data=st.data())
def test_keys_hold_the_rows_slots_and_tokens(ragged, data):
    drawn = data.draw(ragged)
    layout, slots, tokens = drawn.layout(), sum(drawn.prefixes), len(drawn.tokens)
    heads = HeadIndices.for_layout(layout, KV_HEADS, KV_HEADS)
    table = torch.arange(float((slots + tokens) * KV_HEADS * SIZE)).view(slots + tokens, KV_HEADS, SIZE)
    padded = heads.gather_keys(table[:slots], table[slots:])
    assert torch.equal(heads.gather_key_tokens(padded), table[slots:])
    by_row = padded.view(layout.shape[0], KV_HEADS, layout.shape[2], SIZE)
    for row, keys in enumerate(layout.key_BS.tolist()):
        for column, key in enumerate(keys):
            if key < slots + tokens:
                assert torch.equal(by_row[row, :, column], table[key])


def test_indices_are_computed_once_per_layout_and_numbers_of_heads(fixed):
    layout = fixed.layout()
    assert HeadIndices.for_layout(layout, 2, 4) is HeadIndices.for_layout(layout, 2, 4)
    assert HeadIndices.for_layout(layout, 2, 2) is not HeadIndices.for_layout(layout, 2, 4)
