"""Overridden attention: every call inside `with`, in the documented shapes; none outside."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base import attention_interface
from components.model.base.attention_interface import ATTENTION_WITH_MASK, ATTENTION_WITHOUT_MASK, override_attention
from components.model.base.attention_sites import find_attention_layers

IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 1, 1]])
MASK = (IDS != 1).long()


class PlainAttention:
    """Plain attention that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...], Tensor | None]] = []

    def attend(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        self.calls.append((module, tuple(query.shape), tuple(key.shape), mask))
        groups = query.shape[1] // key.shape[1]
        key, value = (side.repeat_interleave(groups, dim=1) for side in (key, value))
        scores = query @ key.transpose(2, 3) * kwargs["scaling"]
        visible = torch.ones(scores.shape[2:], dtype=torch.bool).tril() if mask is None else mask
        return (scores.masked_fill(~visible, -1e9).softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("name", [ATTENTION_WITH_MASK, ATTENTION_WITHOUT_MASK])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "opt"])
def test_every_attention_call_is_overridden(build_model: Callable[..., Any], kind: str, name: str) -> None:
    model, plain = build_model(kind), PlainAttention()
    mask = MASK if name == ATTENTION_WITH_MASK else torch.ones_like(IDS)
    sites = find_attention_layers(model)
    expected = model(input_ids=IDS, attention_mask=mask, use_cache=False).logits
    with override_attention(model, sites, plain, name):
        logits = model(input_ids=IDS, attention_mask=mask, use_cache=False).logits
    torch.testing.assert_close(logits[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=1e-5)
    kv_heads = 4 if kind != "llama" else 2
    assert [call[0] for call in plain.calls] == list(sites)
    assert {call[1:3] for call in plain.calls} == {((2, 4, 5, 8), (2, kv_heads, 5, 8))}
    assert all((call[3] is None) == (name == ATTENTION_WITHOUT_MASK) for call in plain.calls)


def test_the_mask_is_complete_even_if_it_hides_nothing(build_model: Callable[..., Any]) -> None:
    model, plain = build_model("llama"), PlainAttention()
    with override_attention(model, find_attention_layers(model), plain, ATTENTION_WITH_MASK):
        model(input_ids=IDS, use_cache=False)
    assert all(call[3] is not None and call[3].shape[2:] == (5, 5) for call in plain.calls)


@pytest.mark.parametrize("problem", [None, KeyboardInterrupt, ValueError])
def test_the_model_gets_its_own_attention_back(
    build_model: Callable[..., Any], problem: type[BaseException] | None
) -> None:
    model = build_model("gpt2")
    before, expected = model.config._attn_implementation, model(input_ids=IDS).logits
    try:
        with override_attention(model, find_attention_layers(model), PlainAttention(), ATTENTION_WITH_MASK):
            assert model.config._attn_implementation == ATTENTION_WITH_MASK
            if problem is not None:
                raise problem
    except (KeyboardInterrupt, ValueError):
        pass
    assert model.config._attn_implementation == before
    assert torch.equal(model(input_ids=IDS).logits, expected)
    assert not attention_interface._overrides


def test_one_override_per_model_but_two_models_at_once(build_model: Callable[..., Any]) -> None:
    first, second = build_model("gpt2"), build_model("llama")
    plain, other = PlainAttention(), PlainAttention()
    with override_attention(first, find_attention_layers(first), plain, ATTENTION_WITH_MASK):
        with (
            pytest.raises(RuntimeError, match="overridden already"),
            override_attention(first, find_attention_layers(first), other, ATTENTION_WITHOUT_MASK),
        ):
            pass
        with override_attention(second, find_attention_layers(second), other, ATTENTION_WITH_MASK):
            first(input_ids=IDS)
            second(input_ids=IDS)
        first(input_ids=IDS)
    assert (len(plain.calls), len(other.calls)) == (4, 2)


def test_a_call_of_an_attention_module_that_is_not_overridden_is_an_error(build_model: Callable[..., Any]) -> None:
    model = build_model("gpt2")
    known = list(find_attention_layers(model))[:1]
    with (
        override_attention(model, known, PlainAttention(), ATTENTION_WITH_MASK),
        pytest.raises(BaseModelError, match="an attention call of a module that has no prefix"),
    ):
        model(input_ids=IDS)
