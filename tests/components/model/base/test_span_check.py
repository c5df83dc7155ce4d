"""What was found for each layer is compared with the model's own forward, on a row longer than its windows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from architectures import ALL

from components.config import BaseConfig
from components.errors import BaseModelError
from components.model.base.attention_sites import find_attention_layers
from components.model.base.load import load_base
from components.model.base.span_check import check_spans
from components.model.base.token_spans import ALL_TOKENS, TokenSpan

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


def test_the_context_is_that_of_the_text_model(save: Callable[[Any], Path]) -> None:
    stack = {**TEXT, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
    config = hf.T5GemmaConfig(encoder=stack, decoder=stack, vocab_size=67, final_logit_softcapping=None, **IDS)
    folder = save(hf.AutoModelForSeq2SeqLM.from_config(config))
    assert load_base(BaseConfig(path=str(folder)), device="cpu").context == 64


@pytest.mark.parametrize(("window", "passes"), [(None, True), (200, True), (40, False), (8, False)])
def test_a_window_that_no_layer_announces_is_found_by_a_row_longer_than_it(
    window: int | None, passes: bool, build_model: Callable[..., Any]
) -> None:
    model = build_model("llama", max_position_embeddings=128)
    model.config.sliding_window = window  # a config field that the class does not use

    def hide_distant_tokens(_model: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        count = kwargs["input_ids"].shape[1]
        sees = torch.ones(count, count, dtype=torch.bool).tril()
        return args, {**kwargs, "attention_mask": (sees if window is None else sees.triu(1 - window))[None, None]}

    model.get_decoder().register_forward_pre_hook(hide_distant_tokens, with_kwargs=True)
    if passes:
        check_spans(model, 128)
        return
    with pytest.raises(BaseModelError, match="does not attend to exactly the tokens before it"):
        check_spans(model, 128)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ALL)
def test_what_is_found_in_each_architecture_passes(
    kind: str, dtype: torch.dtype, build_model: Callable[..., Any]
) -> None:
    check_spans(build_model(kind).to(dtype), 64)


@pytest.mark.parametrize(("implementation", "forwards"), [("sdpa", 1), ("eager", 2)])
@pytest.mark.parametrize("wrong", [None, 0, 1])
def test_a_layer_that_was_found_to_have_another_span_is_refused(
    wrong: int | None, implementation: str, forwards: int, build_model: Callable[..., Any]
) -> None:
    """With a registered attention function, the model runs once on the long row."""
    model = build_model("gemma3_text", sliding_window=40, max_position_embeddings=128)
    model.set_attn_implementation(implementation)
    layers = find_attention_layers(model)
    for module, layer in layers.items():
        if layer.layer == wrong:
            layers[module] = replace(layer, span=TokenSpan("window", 39) if layer.span == ALL_TOKENS else ALL_TOKENS)
    calls = list[int]()
    model.get_input_embeddings().register_forward_pre_hook(lambda _module, args: calls.append(args[0].shape[1]))
    if wrong is None:
        check_spans(model, 128)
    else:
        with pytest.raises(BaseModelError, match="Gemma3ForCausalLM"):
            check_spans(model, 128)
    assert calls == [42] * forwards


def test_a_window_that_a_layer_announces_and_does_not_have_is_refused(build_model: Callable[..., Any]) -> None:
    model = build_model("mistral", sliding_window=40)

    def show_all_tokens(_model: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        count = kwargs["input_ids"].shape[1]
        return args, {**kwargs, "attention_mask": torch.ones(count, count, dtype=torch.bool).tril()[None, None]}

    model.get_decoder().register_forward_pre_hook(show_all_tokens, with_kwargs=True)
    with pytest.raises(BaseModelError, match="announces a window of 40 tokens, and its mask has another"):
        check_spans(model, 64)


def test_a_model_that_sees_later_tokens_is_refused() -> None:
    torch.manual_seed(0)
    sizes = {key: value for key, value in TEXT.items() if key not in ("head_dim", "num_key_value_heads")}
    model = hf.BertLMHeadModel(hf.BertConfig(**sizes, initializer_range=0.2)).eval()
    with pytest.raises(BaseModelError, match="does not attend to exactly the tokens before it"):
        check_spans(model, 64)
