"""Initial values: a prefix made from a text has the effect of that text, also in encoder-decoder models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from components.errors import BaseModelError, ConfigError
from components.model.base.load import Base
from components.model.base.shapes import CROSS, DECODER, ENCODER, INFIX
from components.model.prefix.attach import attach_prefixes
from components.model.prefix.initialization import (
    make_initial_prefix,
    make_initial_prompt,
    make_random_prefix,
    make_text_prefix,
)
from components.model.prefix.module import PrefixModule

DECODERS = ("gpt2", "llama", "qwen2", "opt", "gpt_neox")
PAIRS = ("bart", "t5", "mbart", "marian")
CLOSE = {"rtol": 0.0, "atol": 1e-5}


def ids_of(base: Base, text: str) -> Tensor:
    return torch.tensor([base.tokenizer(text, add_special_tokens=False)["input_ids"]])


@pytest.mark.parametrize("kind", DECODERS)
def test_a_text_prefix_has_the_effect_of_the_text(build_base: Callable[..., Base], kind: str) -> None:
    base = build_base(kind)
    model, ids = base.model, ids_of(base, "namenarest")
    expected = model(input_ids=ids).logits[:, 4:]
    for text in ("name", "namenamexx"):
        prefix = make_text_prefix(base, text, 4)
        with attach_prefixes(model, [prefix]):
            torch.testing.assert_close(model(input_ids=ids[:, 4:]).logits, expected, **CLOSE)
    assert make_text_prefix(base, "ab", 5).length == 5
    assert make_text_prefix(base, "ab", 0).parameter_count == 0


@pytest.mark.parametrize("kind", PAIRS)
def test_a_text_prefix_of_an_encoder_decoder_model_holds_its_own_keys_and_values(
    build_base: Callable[..., Base], kind: str
) -> None:
    """Compared with the outputs of the model's key and value layers."""
    base = build_base(kind)
    outputs: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _m, _a, output, name=name: outputs.append((name, output)))
        for name, module in base.model.named_modules()
        if name.endswith((".k_proj", ".v_proj", "Attention.k", "Attention.v"))
    ]
    ids = ids_of(base, "namen")
    base.model(input_ids=ids, decoder_input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    own: dict[str, list[Tensor]] = {ENCODER: [], DECODER: [], CROSS: []}
    for name, output in outputs:
        crosses = "encoder_attn" in name or "EncDecAttention" in name
        site = CROSS if crosses else ENCODER if ".encoder." in f".{name}" else DECODER
        own[site].append(output.view(5, 4, 8).transpose(0, 1))
    prefix = make_text_prefix(base, "namen", 5)
    assert list(prefix.sites) == list(own)
    for site, tensors in own.items():
        found = [tensor for layer in range(len(tensors) // 2) for tensor in prefix.get_layer(layer, site)]
        for got, wanted in zip(found, tensors, strict=True):
            torch.testing.assert_close(got, wanted, **CLOSE)


@pytest.mark.parametrize("kind", [*DECODERS, *PAIRS])
@pytest.mark.parametrize("initialization", ["text", "random", "zero"])
def test_every_initialization_works_on_every_base_with_and_without_an_mlp(
    build_base: Callable[..., Base], kind: str, initialization: Any
) -> None:
    base = build_base(kind)
    start = make_initial_prefix(base, 5, initialization, "some words", seed=4)
    assert (start.length, start.shape) == (5, base.shape)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in start.tensors.values())
    assert any(tensor.any() for tensor in start.tensors.values()) == (initialization != "zero")
    for mlp_hidden, tolerance in ((0, 0.0), (5, 1e-4), (32, 1e-4)):
        module = PrefixModule(base.shape, 5, mlp_hidden)
        module.load_values(start)
        for name, tensor in module.collapse().tensors.items():
            torch.testing.assert_close(tensor, start.tensors[name], rtol=0.0, atol=tolerance)


def test_an_initial_prefix_depends_on_its_text_or_seed(base: Base) -> None:
    drawn = make_initial_prefix(base, 3, "random", "words", 4)
    assert torch.equal(drawn.stack_decoder_site(), make_random_prefix(base.shape, 3, 4).stack_decoder_site())
    assert not torch.equal(
        drawn.stack_decoder_site(), make_initial_prefix(base, 3, "random", "words", 5).stack_decoder_site()
    )
    own = make_initial_prefix(base, 3, "text", "words", 0)
    assert torch.equal(own.stack_decoder_site(), make_text_prefix(base, "words", 3).stack_decoder_site())
    assert not torch.equal(own.stack_decoder_site(), make_text_prefix(base, "name", 3).stack_decoder_site())
    infix = make_initial_prefix(base, 3, "text", "words", 0, infix=True)
    assert list(infix.sites) == [INFIX]
    assert torch.equal(infix.stack_decoder_site(), own.stack_decoder_site())


@pytest.mark.parametrize("kind", DECODERS)
def test_a_prompt_made_from_a_text_has_the_effect_of_the_text(build_base: Callable[..., Base], kind: str) -> None:
    base = build_base(kind)
    ids = ids_of(base, "namename")
    prompt_PW = make_initial_prompt(base, 8, "text", "name", 0)
    expected = base.model(input_ids=ids).logits
    torch.testing.assert_close(base.model(inputs_embeds=prompt_PW[None]).logits, expected, **CLOSE)


def test_random_prompts_have_the_standard_deviation_of_the_embeddings(base: Base) -> None:
    spread = base.model.get_input_embeddings().weight.std()
    drawn = make_initial_prompt(base, 60, "random", "", 3)
    assert 0.9 * spread < drawn.std() < 1.1 * spread
    assert torch.equal(drawn, make_initial_prompt(base, 60, "random", "", 3))
    assert not make_initial_prompt(base, 4, "zero", "", 3).any()


def test_a_prompt_for_an_encoder_decoder_base_is_refused(build_base: Callable[..., Base]) -> None:
    with pytest.raises(BaseModelError, match="embedding and T5ForConditionalGeneration"):
        make_initial_prompt(build_base("t5"), 3, "zero", "", 0)


@pytest.mark.parametrize("initialization", ["text", "random"])
def test_a_prefix_as_long_as_the_context_is_refused(base: Base, initialization: Any) -> None:
    with pytest.raises(ConfigError, match=r"context of 64 tokens; got train.prefix_length 64"):
        make_initial_prefix(base, 64, initialization, "words", 0)
    with pytest.raises(ConfigError, match=r"train.prefix_length 64"):
        make_initial_prompt(base, 64, initialization, "words", 0)


def test_a_text_without_tokens_is_refused(base: Base) -> None:
    with pytest.raises(ConfigError, match="init_text"):
        make_text_prefix(base, "", 4)
    with pytest.raises(ConfigError, match="init_text"):
        make_initial_prompt(base, 4, "text", "", 0)


def test_a_bfloat16_base_gives_float32_values(build_base: Callable[..., Base]) -> None:
    base = build_base("bart")
    base.model.to(torch.bfloat16)
    prefix = make_text_prefix(base, "name", 3)
    assert all(tensor.dtype == torch.float32 for tensor in prefix.tensors.values())
