"""The states of recurrent layers are found by watching, and so is whether a row can start from given ones."""

from collections.abc import Callable
from typing import Any

import architectures
import pytest
import torch
from transformers import DynamicCache

from components.errors import BaseModelError
from components.model.base.recurrent_states import check_states, find_state_shapes
from components.model.base.shapes import CONVOLUTION, RECURRENT
from components.model.base.state_cache import put_states

IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])


@pytest.mark.parametrize(("kind", "kinds"), architectures.INITIAL_STATES.items())
def test_hybrids_have_the_states_of_the_registry(
    kind: str, kinds: tuple[str, ...], build_model: Callable[..., Any]
) -> None:
    model = build_model(kind)
    shapes = find_state_shapes(model)
    cached = model(input_ids=IDS[:1], use_cache=True).past_key_values
    assert {one for _, one in shapes} == set(kinds)
    for (layer, one), shape in shapes.items():
        state = (cached.get_recurrent_state if one == RECURRENT else cached.get_conv_state)(layer)
        assert (tuple(state.shape[1:]), state.dtype, state.device) == (shape.sizes, shape.dtype, shape.device)
        assert shape.size == state[0].numel()
    assert find_state_shapes(model) is shapes


@torch.no_grad()
@pytest.mark.parametrize("kind", architectures.INITIAL_STATES)
def test_a_forward_continues_from_the_states_that_another_one_left(kind: str, build_model: Callable[..., Any]) -> None:
    model = build_model(kind)
    whole = model(input_ids=IDS, use_cache=False).logits
    cached = model(input_ids=IDS[:, :2], use_cache=True).past_key_values
    states = {
        key: (cached.get_recurrent_state if key[1] == RECURRENT else cached.get_conv_state)(key[0])
        for key in find_state_shapes(model)
    }
    cache = DynamicCache(config=model.config)
    put_states(cache, states)
    for number, layer in enumerate(cached.layers):
        if getattr(layer, "keys", None) is not None:
            cache.update(layer.keys, layer.values, number)
    rest = model(input_ids=IDS[:, 2:], past_key_values=cache, position_ids=torch.arange(2, 6)[None]).logits
    torch.testing.assert_close(rest, whole[:, 2:], rtol=0.0, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("jamba", "JambaForCausalLM: layer 0 ignores a given recurrent state where it reads several tokens"),
        ("gpt2", "GPT2LMHeadModel: no layer keeps a recurrent state"),
        ("bart", "BartForConditionalGeneration: an encoder-decoder model"),
    ],
)
def test_a_model_that_takes_no_states_is_refused_with_the_reason(
    kind: str, reason: str, build_model: Callable[..., Any]
) -> None:
    with pytest.raises(BaseModelError, match=reason):
        find_state_shapes(build_model(kind))


def test_every_hybrid_is_in_one_of_the_two_lists() -> None:
    names = [*architectures.INITIAL_STATES, *architectures.NO_INITIAL_STATES]
    assert sorted(names) == sorted(architectures.HYBRIDS)


def test_a_model_that_forgets_a_part_of_its_state_is_refused(
    build_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_model("falcon_h1")
    monkeypatch.setattr(
        DynamicCache,
        "update_recurrent_state",
        lambda self, state, layer, **_: self.layers[layer].update_recurrent_state(0 * state),
    )
    with pytest.raises(BaseModelError, match="computes something else where it continues from its own states"):
        find_state_shapes(model)


def test_states_of_another_model_are_refused_by_layer_and_size(build_model: Callable[..., Any]) -> None:
    model = build_model("qwen3_5_text")
    sizes = {key: shape.sizes for key, shape in find_state_shapes(model).items()}
    check_states(model, sizes)
    with pytest.raises(BaseModelError, match=r"a recurrent state in layer 0 of \(4, 8, 8\); got .* of \(4, 8, 9\)"):
        check_states(model, sizes | {(0, RECURRENT): (4, 8, 9)})
    with pytest.raises(BaseModelError, match="no convolution state in layer 3; got a convolution state in layer 3"):
        check_states(model, sizes | {(3, CONVOLUTION): (2,)})
    with pytest.raises(BaseModelError, match=r"a convolution state in layer 0 .*; got no convolution state in layer 0"):
        check_states(model, {(0, RECURRENT): (4, 8, 8)})
