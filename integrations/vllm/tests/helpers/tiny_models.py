"""Tiny models of random weights, and what transformers generates with a prefix or a LoRA."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

VOCABULARY = 512
CONTEXT = 256
Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, each [heads, slots, head size]."""
Matrices = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Path of a linear layer -> A [rank, inputs] and B [outputs, rank]."""
LORA_ALPHA = 16.0

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_SIZES = {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "bos_token_id": 0, "eos_token_id": 0}
_DECODER = {
    **_SIZES,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "tie_word_embeddings": False,
    "initializer_range": 0.2,
}
_CONFIGS = {
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=128, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0,
        initializer_range=0.2,
    ),
    "llama": lambda: LlamaConfig(**_DECODER, rope_parameters=_ROPE),
    "mistral": lambda: MistralConfig(**_DECODER, sliding_window=64, rope_parameters=_ROPE),
    "qwen2": lambda: Qwen2Config(**_DECODER, rope_parameters=_ROPE),
    "phi3": lambda: Phi3Config(**_DECODER, pad_token_id=0, rope_parameters=_ROPE),
    "opt": lambda: OPTConfig(
        **_SIZES, hidden_size=128, ffn_dim=128, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=128,
        pad_token_id=1, init_std=0.2,
    ),
    "gemma3": lambda: Gemma3TextConfig(
        **_DECODER, sliding_window=64, layer_types=["sliding_attention", "full_attention"]
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A model's folder, and the model in transformers."""

    folder: Path
    model: Any

    @torch.no_grad()
    def make_prefix(self, length: int, seed: int) -> Layers:
        """Return the keys and values of random tokens with noise, so that no text has them."""
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(10, VOCABULARY, (1, length), generator=generator)
        cache = DynamicCache(config=self.model.config)
        self.model(input_ids=ids, past_key_values=cache, use_cache=True)
        return [
            (_add_noise(layer.keys[0], generator), _add_noise(layer.values[0], generator)) for layer in cache.layers
        ]

    def make_lora(
        self, rank: int, seed: int, targets: tuple[str, ...] = ("q_proj", "v_proj"), scale: float = 0.2
    ) -> Matrices:
        """Return random matrices for the linear layers with these names."""
        generator = torch.Generator().manual_seed(seed)
        layers = {path: one for path, one in self.model.named_modules() if path.rpartition(".")[2] in targets}
        return {
            path: (
                scale * torch.randn(rank, layer.in_features, generator=generator),
                scale * torch.randn(layer.out_features, rank, generator=generator) * rank / LORA_ALPHA,
            )
            for path, layer in layers.items()
        }

    @contextmanager
    def with_lora(self, matrices: Matrices | None) -> Iterator[None]:
        """Inside, the model computes with the products of the matrices added to its weights."""
        weights = {path: self.model.get_submodule(path).weight for path in matrices or {}}
        before = {path: weight.detach().clone() for path, weight in weights.items()}
        with torch.no_grad():
            for path, (a, b) in (matrices or {}).items():
                weights[path] += LORA_ALPHA / len(a) * b @ a
            try:
                yield
            finally:
                for path, weight in weights.items():
                    weight.copy_(before[path])

    @torch.no_grad()
    def generate(self, prefix: Layers | None, ids: list[int], tokens: int) -> list[int]:
        """Return greedy tokens behind a prefilled cache; the end token ends them."""
        cache = DynamicCache()
        for number, (key, value) in enumerate(prefix or []):
            cache.update(key[None], value[None], number)
        start, found = prefix[0][0].shape[1] if prefix else 0, []
        new = torch.tensor([ids])
        while len(found) < tokens:
            positions = torch.arange(start, start + new.shape[1])[None]
            logits = self.model(input_ids=new, past_key_values=cache, position_ids=positions, use_cache=True).logits
            start += new.shape[1]
            found.append(int(logits[0, -1].argmax()))
            if found[-1] == self.model.config.eos_token_id:
                break
            new = torch.tensor([found[-1:]])
        return found


def make_model(kind: str, folder: Path) -> Model:
    """Write a model and its tokenizer into a folder."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(_CONFIGS[kind](), dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):  # transformers begins with zeros, which would hide a bias that is left out
                parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    vocabulary = {f"<{number}>": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<1>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<0>", bos_token="<0>").save_pretrained(folder)
    return Model(folder, model)


def _add_noise(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return (tensor + tensor.std() * torch.randn(tensor.shape, generator=generator)).contiguous()
