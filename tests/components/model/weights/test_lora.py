"""LoRA against merged weights, and the layers that peft or the user chooses."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.weights import WeightsConfig, make_trainable_weights


def paths(model: Any, targets: tuple[str, ...] | None) -> set[str]:
    tensors = make_trainable_weights(model, WeightsConfig(kind="lora", lora_targets=targets)).get_weights().tensors
    return {name.removeprefix("lora.").rpartition(".")[0] for name in tensors}


@pytest.mark.parametrize("kind", ["gpt2", "llama", "t5"])
def test_lora_adds_alpha_over_rank_times_b_a(
    build_model: Callable[..., Any], kind: str, logits: Callable[[Any], Tensor]
) -> None:
    model, merged = build_model(kind), build_model(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainable = make_trainable_weights(model, WeightsConfig(kind="lora", lora_rank=4, lora_alpha=10))
        tensors = trainable.get_weights().tensors
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, tensor in tensors.items():
                assert tensor.any() == name.endswith(".A")
                tensor.copy_(0.2 * torch.randn(tensor.shape, generator=generator))
            for name in tensors:
                path = name.removeprefix("lora.").rpartition(".")[0]
                if name.endswith(".A"):
                    module = merged.get_submodule(path)
                    update = 10 / 4 * tensors[f"lora.{path}.B"] @ tensors[name]
                    module.weight += update if isinstance(module, nn.Linear) else update.T
        with trainable.get_weights().apply(model):
            torch.testing.assert_close(logits(model), logits(merged))


def test_peft_chooses_the_layers_of_a_known_architecture(build_model: Callable[..., Any]) -> None:
    assert paths(build_model("gpt2"), None) == {f"transformer.h.{index}.attn.c_attn" for index in range(2)}
    assert paths(build_model("llama"), None) == {
        f"model.layers.{index}.self_attn.{name}_proj" for index in range(2) for name in "qv"
    }


def test_an_architecture_that_peft_does_not_know_gets_every_linear_layer_of_its_blocks(
    build_model: Callable[..., Any],
) -> None:
    model = build_model("marian")
    linear = {path for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert paths(model, None) == linear - {"lm_head"}


def test_layers_are_chosen_by_name(build_model: Callable[..., Any]) -> None:
    assert paths(build_model("llama"), ("1.mlp.up_proj", "lm_head")) == {"model.layers.1.mlp.up_proj", "lm_head"}
    assert len(paths(build_model("bart"), ("fc2",))) == 5


@pytest.mark.parametrize(("target", "got"), [("q_prog", "no such module"), ("wte", "Embedding"), ("attn", "Attention")])
def test_a_name_without_a_linear_layer_is_refused(build_model: Callable[..., Any], target: str, got: str) -> None:
    with pytest.raises(BaseModelError, match=f"named {target}; got .*{got}"):
        paths(build_model("gpt2"), ("c_attn", target))


def test_a_layer_that_peft_does_not_support_is_named_and_the_model_does_not_change() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=67, hidden_size=8, num_hidden_layers=1, bos_token_id=0, eos_token_id=0)
    model = MambaForCausalLM(config)
    before = [(name, id(module)) for name, module in model.named_modules()]
    with pytest.raises(BaseModelError, match="out_proj"):
        paths(model, ("x_proj", "out_proj"))
    assert [(name, id(module)) for name, module in model.named_modules()] == before
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["deepseek_v3", "qwen3_next", "glm4_moe_lite"])
def test_dense_layers_beside_experts_are_adapted_and_the_experts_do_not_change(
    build_model: Callable[..., Any], kind: str
) -> None:
    model = build_model(kind)
    before = [(name, id(module)) for name, module in model.named_modules()]
    weights = make_trainable_weights(model, WeightsConfig(kind="lora")).get_weights()
    with weights.apply(model):
        pass
    assert any(".mlp." in name for name in weights.tensors)
    assert [(name, id(module)) for name, module in model.named_modules()] == before


def test_layers_are_made_once_per_model(build_model: Callable[..., Any]) -> None:
    model = build_model("llama")
    weights = make_trainable_weights(model, WeightsConfig(kind="lora")).get_weights()
    with weights.apply(model):
        first = [id(module) for module in model.modules()]
    with weights.apply(model):
        assert [id(module) for module in model.modules()] == first
