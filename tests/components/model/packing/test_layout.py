"""Every index of a layout against its meaning, token by token."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.model.packing.layout import PackedLayout

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def visible_to(layout: PackedLayout, query: int) -> list[int]:
    """Return the rows of the table of keys that a query attends to, in order."""
    queries = layout.hidden_BTS.shape[1]
    row, column = divmod(int(layout.padded_query_N[query]), queries)
    assert int(layout.query_BT[row, column]) == query
    return layout.key_BS[row][~layout.hidden_BTS[row, column]].tolist()


@MANY
@given(data=st.data())
def test_a_token_attends_to_its_own_slots_and_to_its_rows_tokens_up_to_itself(ragged, data):
    drawn = data.draw(ragged)
    layout, slots, keys = drawn.layout(), sum(drawn.prefixes), drawn.layout().shape[2]
    for number, (row, column) in enumerate(drawn.tokens):
        own = drawn.slots(row, column)
        first = slots + number - column
        assert visible_to(layout, number) == [*own, *range(first, first + column + 1)]
        assert int(layout.position_N[number]) == column + len(own)
        assert int(layout.key_BS.flatten()[layout.padded_key_N[number]]) == slots + number
        assert int(layout.padded_key_N[number]) // keys == row
    assert len(layout.padded_slot_Q) == slots
    assert layout.owner_B.tolist() == drawn.owners


@MANY
@given(data=st.data())
def test_dropping_queries_changes_no_other_query(ragged, data):
    drawn = data.draw(ragged)
    layout = drawn.layout()
    cut = layout.drop_queries_before(drawn.wanted)
    kept = [number for number, (row, column) in enumerate(drawn.tokens) if column >= drawn.wanted[row]]
    assert len(cut.padded_query_N) == len(kept)
    for query, number in enumerate(kept):
        assert visible_to(cut, query) == visible_to(layout, number)
    for name in ("key_BS", "padded_key_N", "padded_slot_Q", "position_N"):
        assert torch.equal(getattr(cut, name), getattr(layout, name))
    assert layout.drop_queries_before([0] * len(drawn.lengths)).query_BT.tolist() == layout.query_BT.tolist()
