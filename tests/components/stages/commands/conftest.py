"""Workspaces whose prefixes change what the base writes, and PEFT checkpoints for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel


def _write_base(root: Path, seed: int = 0, **sizes: int) -> None:
    torch.manual_seed(seed)
    config = GPT2Config.from_pretrained(root / "base", initializer_range=0.5, **sizes)
    GPT2LMHeadModel(config).save_pretrained(root / "base")


@pytest.fixture
def write_base() -> Callable[..., None]:
    """Return a function that replaces a workspace's base by one of larger random weights."""
    return _write_base


@pytest.fixture
def lively_root(make_root: Callable[..., Path]) -> Callable[..., Path]:
    """Return `make_root` with larger weights in the base, so that two prefixes give two texts."""

    def make(tenants: tuple[str, ...], **sections: dict[str, Any]) -> Path:
        root = make_root(tenants, **sections)
        _write_base(root)
        return root

    return make


@pytest.fixture
def save_peft() -> Callable[..., Path]:
    """Return a function that saves a PEFT checkpoint of random weights and returns its folder."""

    def save(root: Path, folder: Path, *, projection: bool = False, length: int = 2, seed: int = 1) -> Path:
        config = peft.PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=length,
            prefix_projection=projection,
            encoder_hidden_size=8 if projection else None,
        )
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(root / "base").eval(), config)
        torch.manual_seed(seed)
        for weight in model.prompt_encoder.parameters():
            torch.nn.init.normal_(weight, std=2.0)
        model.save_pretrained(folder)
        return folder

    return save
