"""The chunked cross-entropy against torch's own in float64, and its gradient against autograd's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from components.training import cross_entropy as ours
from components.training.cross_entropy import compute_chunked_cross_entropy, compute_cross_entropy

Parts = tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]


def parts(rows: int, size: int, words: int, *, bias: bool, seed: int, scale: float = 1.0) -> Parts:
    """Hidden states, weight, bias, targets and shares; some targets twice, and a share of zero."""
    torch.manual_seed(seed)
    hidden_NC, weight_VC = scale * torch.randn(rows, size), torch.randn(words, size)
    share_N = torch.rand(rows)
    share_N[:1] = 0.0
    return hidden_NC, weight_VC, torch.randn(words) if bias else None, torch.randint(words, (rows,)), share_N


def plain(
    hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, target_N: Tensor, share_N: Tensor
) -> list[Tensor]:
    """The same and its gradient, by torch in float64."""
    hidden_NC = hidden_NC.double().requires_grad_()
    logits_NV = linear(hidden_NC, weight_VC.double(), None if bias_V is None else bias_V.double())
    each_N = cross_entropy(logits_NV, target_N, reduction="none")
    total = (each_N * share_N.double()).sum()
    (grad_NC,) = torch.autograd.grad(3.0 * total, hidden_NC)
    return [total.detach(), each_N.detach(), grad_NC]


def by(way: str, values: Parts) -> list[Tensor]:
    hidden_NC, weight_VC, bias_V, target_N, share_N = values
    hidden_NC = hidden_NC.clone().requires_grad_()
    if way == "chunked":
        total, each_N = compute_chunked_cross_entropy(hidden_NC, weight_VC, bias_V, target_N, share_N)
    else:
        total, each_N = compute_cross_entropy(linear(hidden_NC, weight_VC, bias_V), target_N, share_N)
    assert not each_N.requires_grad
    (3.0 * total).backward()
    assert hidden_NC.grad is not None
    return [total.detach(), each_N, hidden_NC.grad]


@pytest.mark.parametrize("way", ["chunked", "whole"])
@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 30),
    size=st.integers(1, 9),
    words=st.integers(1, 40),
    chunk=st.tuples(st.integers(1, 30), st.integers(1, 40)),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_equals_torchs_own(
    way: str, rows: int, size: int, words: int, chunk: tuple[int, int], bias: bool, seed: int
) -> None:
    values = parts(rows, size, words, bias=bias, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours, "_CPU_CHUNK", chunk)
        found = by(way, values)
    for one, other in zip(found, plain(*values), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 20), bias=st.booleans(), seed=st.integers(0, 2**31))
def test_of_16_bits_it_is_near(rows: int, bias: bool, seed: int) -> None:
    values = parts(rows, 8, 50, bias=bias, seed=seed)
    half: Parts = tuple(one.bfloat16() if one is not None and one.is_floating_point() else one for one in values)  # type: ignore[assignment]
    exact = plain(*half)
    found = by("chunked", (*half[:4], values[4]))
    assert [one.dtype for one in found] == [torch.float32, torch.float32, torch.bfloat16]
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0.05, atol=0.15)


@pytest.mark.parametrize("way", ["chunked", "whole"])
def test_extreme_logits_stay_finite_and_right(way: str) -> None:
    values = parts(9, 4, 30, bias=True, seed=1, scale=1e4)
    found = by(way, values)
    assert all(one.isfinite().all() for one in found)
    for one, other in zip(found, plain(*values), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("way", ["chunked", "whole"])
def test_one_row_that_is_not_finite_touches_no_other(way: str) -> None:
    values = parts(9, 4, 30, bias=False, seed=1)
    fine = by(way, values)
    values[0][4, 2] = float("nan")
    found = by(way, values)
    others = torch.arange(9) != 4
    assert found[0].isnan()
    assert found[1][4].isnan()
    for one, other in zip(found[1:], fine[1:], strict=True):
        assert torch.equal(one[others], other[others])


def test_nothing_is_computed_for_the_frozen_layer_or_without_gradient() -> None:
    hidden_NC, *rest = parts(5, 4, 30, bias=True, seed=1)
    total, _ = compute_chunked_cross_entropy(hidden_NC, *rest)
    assert not total.requires_grad
    assert float(total) == pytest.approx(float(plain(hidden_NC, *rest)[0]), rel=1e-5)
    empty, each = compute_chunked_cross_entropy(hidden_NC[:0], rest[0], rest[1], rest[2][:0], rest[3][:0])
    assert (float(empty), len(each)) == (0.0, 0)


def test_no_more_logits_are_held_than_a_chunk_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "_CPU_CHUNK", (8, 7))
    held: list[tuple[int, int]] = []
    monkeypatch.setattr(ours, "linear", lambda *args: held.append((len(args[0]), len(args[1]))) or linear(*args))
    by("chunked", parts(21, 4, 30, bias=True, seed=1))
    assert sum(rows * words for rows, words in held) == 21 * 30
    assert max(held) == (8, 7)


def test_a_likely_target_has_an_exact_gradient_in_16_bits() -> None:
    """p - 1 is 2e-4 here, which 16 bits would round to 0 beside p."""
    hidden_NC, weight_VC = torch.ones(1, 1), torch.tensor([[8.5], [0.0], [-1.0]])
    _, _, gradient = by("chunked", (hidden_NC.bfloat16(), weight_VC.bfloat16(), None, torch.tensor([0]), torch.ones(1)))
    exact = plain(hidden_NC, weight_VC, None, torch.tensor([0]), torch.ones(1))[2]
    torch.testing.assert_close(gradient.double(), exact, rtol=0.02, atol=0.0)
