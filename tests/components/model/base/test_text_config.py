"""The text model's config, and the windows that it sets, whatever their names."""

from collections.abc import Callable
from typing import Any

import pytest
import transformers as hf

from components.model.base.text_config import find_text_configs, find_windows

TEXT = {"vocab_size": 67, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "sliding_window": 8}
CONFIGS: dict[str, Callable[[], Any]] = {
    "gemma3_text": lambda: hf.Gemma3Config(text_config=TEXT),
    "mistral": lambda: hf.Mistral3Config(text_config={**TEXT, "model_type": "mistral"}),
    "llama4_text": lambda: hf.Llama4Config(text_config={**TEXT, "attention_chunk_size": 8}),
    "qwen2_5_vl_text": lambda: hf.Qwen2_5_VLConfig(text_config={**TEXT, "use_sliding_window": True}),
    "gpt_neo": lambda: hf.GPTNeoConfig(num_layers=2, attention_types=[[["global", "local"], 1]], window_size=8),
    "led": lambda: hf.LEDConfig(d_model=16, attention_window=8),
    "longt5": lambda: hf.LongT5Config(d_model=16, local_radius=8),
    "gpt2": lambda: hf.GPT2Config(),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_windows_of_any_name_and_place_are_found(kind: str) -> None:
    config = CONFIGS[kind]()
    assert find_text_configs(config)[0].model_type == kind
    assert set(find_windows(config)) == (set() if kind == "gpt2" else {8})
