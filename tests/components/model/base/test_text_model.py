"""Multimodal models give their text model, with its windows, context and logits; others are refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from architectures import RECENT, WINDOW

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.attention_sites import find_attention_layers
from components.model.base.load import load_base

VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}


def wrap(name: str, text: str, **vision: Any) -> Any:
    sizes = {**RECENT[text].sizes, "model_type": text}
    return getattr(hf, name)(text_config=sizes, vision_config={**VISION, **vision})


WRAPPERS: dict[str, Callable[[], Any]] = {
    "Gemma3ForCausalLM": lambda: wrap("Gemma3Config", "gemma3_text", model_type="siglip_vision_model"),
    "MistralForCausalLM": lambda: wrap("Mistral3Config", "mistral", model_type="pixtral"),
    "Llama4ForCausalLM": lambda: wrap(
        "Llama4Config", "llama4_text", vision_output_dim=16, projector_input_dim=16, projector_output_dim=16
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("name", WRAPPERS)
def test_the_text_model_computes_what_the_whole_model_does_and_has_its_windows(
    name: str, save: Callable[[Any], Path]
) -> None:
    torch.manual_seed(0)
    whole = hf.AutoModelForImageTextToText.from_config(WRAPPERS[name]()).eval()
    base = load_base(BaseConfig(path=str(save(whole))), device="cpu")
    assert type(base.model).__name__ == name
    assert base.context == RECENT["mistral"].sizes["max_position_embeddings"]
    assert WINDOW in {layer.span.size for layer in find_attention_layers(base.model).values()}
    ids = torch.arange(2, 22)[None]
    torch.testing.assert_close(base.model(input_ids=ids).logits, whole(input_ids=ids).logits, rtol=1e-5, atol=1e-5)
    assert base.parameter_count < sum(parameter.numel() for parameter in whole.parameters())


def test_a_multimodal_model_without_a_class_for_its_text_model_is_refused_by_name(save: Callable[[Any], Path]) -> None:
    sizes = {**RECENT["qwen2_windows"].sizes, "rope_scaling": {"type": "default", "mrope_section": [1, 1, 2]}}
    vision = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "out_hidden_size": 32}
    whole = hf.AutoModelForImageTextToText.from_config(hf.Qwen2_5_VLConfig(text_config=sizes, vision_config=vision))
    with pytest.raises(BaseModelError, match=r"qwen2_5_vl_text in qwen2_5_vl\).*save its text model alone"):
        load_base(BaseConfig(path=str(save(whole))), device="cpu")
