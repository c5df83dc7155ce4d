"""The likeliest tokens and the log-sum-exp, against torch's functions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.model.decoding.top_candidates import compute_log_sum_exp, find_likeliest_tokens, find_top_candidates


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 40),
    vocabulary=st.sampled_from([10, 64, 640, 703, 704, 705, 2000]),
    count=st.integers(1, 10),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_candidates_and_sums_equal_those_of_topk_and_logsumexp(
    seed: int, rows: int, vocabulary: int, count: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(rows, vocabulary, generator=generator)).to(dtype)
    values, columns = find_top_candidates(logits, count)
    assert torch.equal(values, logits.float().topk(count).values)
    assert torch.equal(logits.gather(1, columns).float(), values), "equal logits may stand in any order"
    assert all(len(set(row)) == count for row in columns.tolist())
    torch.testing.assert_close(compute_log_sum_exp(logits), logits.float().logsumexp(1))


@pytest.mark.parametrize("column", [0, 63, 64, 1023, 1024, 1025])
def test_impossible_tokens_come_last(column: int) -> None:
    logits = torch.full((2, 1026), -torch.inf)
    logits[:, column] = 1.0
    logits[:, 500] = 0.5
    values, columns = find_top_candidates(logits, 5)
    assert columns[:, :2].tolist() == [[column, 500]] * 2
    assert values[:, :3].tolist() == [[1.0, 0.5, -torch.inf]] * 2


@settings(deadline=None)
@given(
    rows=st.lists(
        st.lists(st.sampled_from([-torch.inf, -1.5, 0.0, 2.0, 7.25, torch.inf, torch.nan]), min_size=70, max_size=70),
        max_size=5,
    ),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    is_strided=st.booleans(),
)
def test_the_likeliest_token_is_the_first_of_the_largest(
    rows: list[list[float]], dtype: torch.dtype, is_strided: bool
) -> None:
    logits = torch.tensor(rows, dtype=dtype).view(-1, 70)
    logits = logits[:, ::2] if is_strided else logits
    tokens = find_likeliest_tokens(logits)
    wanted = [
        next(i for i, value in enumerate(row) if value != value)
        if any(value != value for value in row)
        else row.index(max(row))
        for row in logits.tolist()
    ]
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == wanted
