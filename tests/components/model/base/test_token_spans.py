"""Spans are found from transformers' mask functions, and any other pattern is not."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import masking_utils

from components.model.base.token_spans import ALL_TOKENS, SLOT, TokenSpan, find_span

CPU = torch.device("cpu")
NO_PADDING = torch.zeros(1, dtype=torch.long)


@settings(max_examples=8, deadline=None)
@given(size=st.integers(1, 5000))
def test_windows_and_chunks_of_any_size_are_found(size: int) -> None:
    window = masking_utils.sliding_window_causal_mask_function(size)
    assert find_span(window, CPU) == TokenSpan("window", size)
    chunk = masking_utils.chunked_causal_mask_function(size, NO_PADDING)
    assert find_span(chunk, CPU) == (TokenSpan("window", 1) if size == 1 else TokenSpan("chunk", size))


@pytest.mark.parametrize("size", [None, 2**21])
def test_no_window_and_one_beyond_any_text_are_all_tokens(size: int | None) -> None:
    function = masking_utils.causal_mask_function
    own = function if size is None else masking_utils.sliding_window_causal_mask_function(size)
    assert find_span(own, CPU) == ALL_TOKENS


def test_other_patterns_are_not_taken_for_spans() -> None:
    def dilated(_batch: Any, _head: Any, query: Any, key: Any) -> Any:
        return (key <= query) & ((query - key) % 2 == 0)

    window = masking_utils.sliding_window_causal_mask_function(8)

    def window_and_first(batch: Any, head: Any, query: Any, key: Any) -> Any:
        return window(batch, head, query, key) | (key == 0)

    for function in (dilated, window_and_first, masking_utils.bidirectional_mask_function):
        assert find_span(function, CPU) is None


def test_a_slot_is_near_every_token() -> None:
    query, key = torch.tensor([[0], [3], [9000]]), torch.tensor([SLOT, 0, 3])
    assert TokenSpan("chunk", 3).is_near(query, key).tolist() == [
        [True, True, False],
        [True, False, True],
        [True, False, False],
    ]
    assert TokenSpan("window", 3).is_near(query, key)[1:].tolist() == [[True, False, True], [True, False, False]]
