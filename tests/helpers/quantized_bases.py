"""Tiny bases that are quantised while they are loaded, for tests."""

from pathlib import Path
from typing import Any

import tiny_models

from components.config import BaseConfig
from components.config.quantizers import Quantizer
from components.model.base.load import Base, load_base

CPU_QUANTIZERS: tuple[Quantizer, ...] = ("bitsandbytes-int8", "bitsandbytes-nf4", "torchao-int8")
SIZES = {"llama": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}}


def save_full(folder: Path, kind: str = "llama") -> Path:
    """Save a random model whose layers are large enough for blocks of 4-bit numbers, and a tokenizer of letters."""
    model = tiny_models.give_own_head(tiny_models.build_model(kind, **SIZES.get(kind, {})))
    model.config.tie_word_embeddings = False
    model.save_pretrained(folder)
    tiny_models.make_letters().save_pretrained(folder)
    return folder


def load(folder: Path, quantize: Quantizer | None = None, **values: Any) -> Base:
    return load_base(BaseConfig(path=str(folder), quantize=quantize, **values), device="cpu")
