"""Tiny random bases: one GPT-2, one Llama whose query heads share key/value heads."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from components.model.base import Base
from components.model.prefix import Prefix
from components.model.sites import prefix_shape

VOCABULARY = 67
KINDS = ("gpt2", "llama")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_model(kind: str, seed: int = 0) -> Any:
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    torch.manual_seed(seed)
    common = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    if kind == "gpt2":
        config: Any = GPT2Config(n_embd=32, n_head=4, n_layer=3, n_positions=64, initializer_range=0.2, **common)
    else:
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_attention_heads=4,
            num_key_value_heads=2,
            num_hidden_layers=3,
            max_position_embeddings=64,
            initializer_range=0.2,
            **common,
        )
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_model(request.param)


@pytest.fixture
def prefix_for(model: Any) -> Callable[..., Prefix]:
    """A function of length and seed to a random prefix for `model`."""
    shape = prefix_shape(model)

    def make(length: int, seed: int = 0) -> Prefix:
        generator = torch.Generator().manual_seed(100 + seed)
        size = (shape.layers, 2, shape.kv_heads, length, shape.head_dim)
        return Prefix.from_stacked(torch.randn(size, generator=generator))

    return make


class LetterTokenizer(SimpleNamespace):
    """One token a letter."""

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [2 + ord(letter) % (VOCABULARY - 2) for letter in text]}


@pytest.fixture
def base(model: Any) -> Base:
    tokenizer = LetterTokenizer(eos_token_id=0, pad_token_id=1)
    size = sum(parameter.numel() for parameter in model.parameters())
    return Base(model, tokenizer, "tiny", "0" * 64, "1" * 64, size, model.config.max_position_embeddings)
