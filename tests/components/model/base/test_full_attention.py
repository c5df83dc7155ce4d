"""Windows are read from the text model's config, and found by a forward where the config does not say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.full_attention import check_config, check_forward
from components.model.base.load import load_base

TEXT = {
    "vocab_size": 67,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "eos_token_id": 0,
    "bos_token_id": 0,
    "pad_token_id": 1,
}
IDS = {"eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 1, "decoder_start_token_id": 0}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
WINDOW = {**TEXT, "sliding_window": 8}


def wrap(name: str, text: dict[str, Any], vision: str) -> Any:
    return getattr(hf, name)(text_config=text, vision_config={**VISION, "model_type": vision})


WRAPPERS = {
    "gemma3": lambda: wrap("Gemma3Config", WINDOW, "siglip_vision_model"),
    "mistral3": lambda: wrap("Mistral3Config", {**WINDOW, "model_type": "mistral"}, "pixtral"),
    "llama4": lambda: hf.Llama4Config(text_config={**TEXT, "attention_chunk_size": 8}, vision_config=VISION),
    "qwen2_5_vl": lambda: hf.Qwen2_5_VLConfig(
        text_config={**WINDOW, "use_sliding_window": True, "max_window_layers": 0}
    ),
    "t5gemma": lambda: hf.T5GemmaConfig(encoder=WINDOW, decoder={**WINDOW, "layer_types": ["full_attention"] * 2}),
    "gpt_neo": lambda: hf.GPTNeoConfig(
        hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]], window_size=8
    ),
    "led": lambda: hf.LEDConfig(d_model=16, attention_window=8),
    "longt5": lambda: hf.LongT5Config(d_model=16, local_radius=7),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_windows_of_any_name_and_place_are_refused_by_name(kind: str) -> None:
    with pytest.raises(BaseModelError, match=rf"full attention in every layer.*base \(.*{kind}.*window [78]"):
        check_config(WRAPPERS[kind](), "base")


def test_a_multimodal_folder_with_windows_is_refused_before_its_weights_are_loaded(
    save: Callable[[Any], Path],
) -> None:
    folder = save(hf.AutoModelForCausalLM.from_config(WRAPPERS["gemma3"]()))
    with pytest.raises(BaseModelError, match=r"gemma3_text in gemma3\): sliding_attention, window 8"):
        load_base(BaseConfig(path=str(folder)), device="cpu")


@pytest.mark.parametrize(("name", "vision"), [("Gemma3Config", "siglip_vision_model"), ("Mistral3Config", "pixtral")])
def test_a_multimodal_model_without_windows_is_refused_by_name_too(name: str, vision: str) -> None:
    text = {**TEXT, "sliding_window": None, "layer_types": ["full_attention"] * 2}
    config = wrap(name, {**text, **({"model_type": "mistral"} if "Mistral" in name else {})}, vision)
    with pytest.raises(
        BaseModelError, match=rf"text alone; got base \(\w+ in {config.model_type}\).*save its text model"
    ):
        check_config(config, "base")


def test_the_context_is_that_of_the_text_model(save: Callable[[Any], Path]) -> None:
    stack = {**TEXT, "sliding_window": 64, "layer_types": ["full_attention"] * 2, "attn_logit_softcapping": None}
    config = hf.T5GemmaConfig(encoder=stack, decoder=stack, vocab_size=67, final_logit_softcapping=None, **IDS)
    folder = save(hf.AutoModelForSeq2SeqLM.from_config(config))
    assert load_base(BaseConfig(path=str(folder)), device="cpu").context == 64


def test_a_window_that_is_switched_off_is_returned_for_the_probe() -> None:
    config = hf.SmolLM3Config(**{**WINDOW, "use_sliding_window": False, "no_rope_layers": [1, 1]})
    config.sliding_window = 8
    assert check_config(config, "base") == 8
    assert check_config(hf.GPT2Config(), "base") is None


@pytest.mark.parametrize(("window", "passes"), [(None, True), (200, True), (40, False), (8, False)])
def test_a_window_that_no_layer_announces_is_found_by_a_row_longer_than_it(
    window: int | None, passes: bool, build_model: Callable[..., Any]
) -> None:
    model = build_model("llama", max_position_embeddings=128)

    def hide_distant_tokens(_model: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        count = kwargs["input_ids"].shape[1]
        sees = torch.ones(count, count, dtype=torch.bool).tril()
        return args, {**kwargs, "attention_mask": (sees if window is None else sees.triu(1 - window))[None, None]}

    model.get_decoder().register_forward_pre_hook(hide_distant_tokens, with_kwargs=True)
    if passes:
        check_forward(model, window, 128)
        return
    with pytest.raises(BaseModelError, match="does not attend to exactly the tokens before it"):
        check_forward(model, window, 128)


def test_a_window_that_a_layer_announces_is_refused() -> None:
    torch.manual_seed(0)
    model = hf.MistralForCausalLM(hf.MistralConfig(**{**WINDOW, "sliding_window": 40})).eval()
    with pytest.raises(BaseModelError, match="MistralForCausalLM: a window of 40 tokens"):
        check_forward(model, None, 64)


def test_a_model_that_sees_later_tokens_is_refused() -> None:
    torch.manual_seed(0)
    sizes = {key: value for key, value in TEXT.items() if key not in ("head_dim", "num_key_value_heads")}
    model = hf.BertLMHeadModel(hf.BertConfig(**sizes, initializer_range=0.2)).eval()
    with pytest.raises(BaseModelError, match="does not attend to exactly the tokens before it"):
        check_forward(model, None, 64)
