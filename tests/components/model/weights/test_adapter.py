"""Adapters against their formula, their size against the share that is set, and every form of a block's output."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from components.errors import BaseModelError
from components.model.base.blocks import find_all_blocks
from components.model.weights import WeightsConfig, make_trainable_weights
from components.model.weights.adapter import change_hidden_states


def test_an_adapter_computes_its_formula_after_its_block(
    build_model: Callable[..., Any], batch: dict[str, Tensor]
) -> None:
    model = build_model("llama")
    trainable = make_trainable_weights(model, WeightsConfig(kind="adapter", adapter_size=3))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainable.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    outputs: list[Tensor] = []
    last = model.model.layers[-1]
    plain = last.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    with torch.no_grad(), trainable.get_weights().apply(model):
        adapted = last.register_forward_hook(lambda _module, _args, output: outputs.append(output))
        model(**batch)
    plain.remove()
    adapted.remove()
    own = {name.rpartition(".")[2]: value for name, value in trainable.collapse().tensors.items() if ".1." in name}
    h, adapted_h = outputs
    x = (h - h.mean(-1, keepdim=True)) / (h.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    x = x * own["norm_weight"] + own["norm_bias"]
    x = (x @ own["down_weight"].T + own["down_bias"]).clamp(min=0)
    torch.testing.assert_close(adapted_h, h + x @ own["up_weight"].T + own["up_bias"])


@pytest.mark.parametrize("share", [0.001, 0.03])
@pytest.mark.parametrize("kind", ["gpt2", "bart"])
def test_the_size_differs_from_the_share_by_less_than_one_unit(
    build_model: Callable[..., Any], kind: str, share: float
) -> None:
    sizes = {
        "gpt2": {"n_embd": 1024, "n_layer": 24, "n_head": 16, "n_positions": 1024, "vocab_size": 50257},
        "bart": {"d_model": 1024, "encoder_layers": 12, "decoder_layers": 12, "vocab_size": 50265}
        | {"encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096},
    }
    with torch.device("meta"):
        model = build_model(kind, **sizes[kind])
    base = sum(parameter.numel() for parameter in model.parameters())
    weights = make_trainable_weights(model, WeightsConfig(kind="adapter", adapter_share=share)).get_weights()
    unit = sum(2 * block.width + 1 for block in find_all_blocks(model))
    assert abs(weights.parameter_count - share * base) <= unit / 2
    assert len(find_all_blocks(model)) == 24


def test_the_smallest_adapter_has_one_unit(build_model: Callable[..., Any]) -> None:
    tensors = (
        make_trainable_weights(build_model("t5"), WeightsConfig(kind="adapter", adapter_share=1e-9))
        .get_weights()
        .tensors
    )
    assert {tuple(tensor.shape) for name, tensor in tensors.items() if name.endswith("down_weight")} == {(1, 32)}
    assert {name.removeprefix("adapter.").rpartition(".")[0] for name in tensors} == {
        f"{stack}.block.{index}" for stack in ("encoder", "decoder") for index in range(2)
    }


def test_units_are_drawn_in_pairs_of_opposite_sign(build_model: Callable[..., Any]) -> None:
    tensors = (
        make_trainable_weights(build_model("gpt2"), WeightsConfig(kind="adapter", adapter_size=5)).get_weights().tensors
    )
    down = tensors["adapter.transformer.h.0.down_weight"]
    assert torch.equal(down[:2], -down[3:])
    assert abs(float(down.detach().std()) * 32**0.5 - 1) < 0.3


def test_hidden_states_are_changed_in_every_form_of_output() -> None:
    from transformers.modeling_outputs import BaseModelOutput

    hidden, rest = torch.ones(1, 2), torch.zeros(3)
    assert torch.equal(change_hidden_states(hidden, torch.neg), -hidden)
    first, second = change_hidden_states((hidden, rest), torch.neg)
    assert torch.equal(first, -hidden)
    assert second is rest
    output = BaseModelOutput(last_hidden_state=hidden, hidden_states=(rest,))
    changed = change_hidden_states(output, torch.neg)
    assert torch.equal(changed.last_hidden_state, -hidden)
    assert torch.equal(changed[0], -hidden)
    assert changed.hidden_states[0] is rest
    assert output.last_hidden_state is hidden
    with pytest.raises(BaseModelError, match="NoneType"):
        change_hidden_states(None, torch.neg)
