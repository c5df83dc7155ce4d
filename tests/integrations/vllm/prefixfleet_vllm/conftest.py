"""Artifacts that PrefixFleet itself has written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.model.weights import WeightsConfig, make_weights_from_tensors
from components.registry.artifact import save_artifact
from components.registry.manifest import Manifest

BASE_DIGEST = "b" * 64


@pytest.fixture
def save() -> Callable[..., Manifest]:
    """A function of a folder and changed fields to the manifest of a prefix of 3 slots, 2 layers, 2 heads of 4."""

    def save_with(folder: Path, **changes: Any) -> Manifest:
        generator = torch.Generator().manual_seed(changes.pop("seed", 0))
        names = [f"decoder.self.{layer}.{kind}" for layer in range(2) for kind in ("key", "value")]
        prefix = Prefix({name: torch.randn((2, 3, 4), generator=generator) for name in names})
        facts: dict[str, Any] = {
            "tenant": "acme",
            "base_name": "base",
            "base_digest": BASE_DIGEST,
            "tokenizer_digest": "c" * 64,
            "dataset_version": "d" * 32,
            "data_digest": "e" * 64,
            "train": {"prefix_length": 3, "learning_rate": 0.02},
            "fingerprint": "f" * 64,
        }
        return save_artifact(folder, changes.pop("prefix", prefix), **{**facts, **changes})

    return save_with


@pytest.fixture
def save_lora(save: Callable[..., Manifest]) -> Callable[..., Manifest]:
    """A function of a folder and changed fields to the manifest of a LoRA of rank 2 on two layers of 6 to 4 units."""

    def save_with(folder: Path, **changes: Any) -> Manifest:
        generator = torch.Generator().manual_seed(0)
        tensors = {}
        for layer in range(2):
            tensors[f"lora.layers.{layer}.q_proj.A"] = torch.randn((2, 6), generator=generator)
            tensors[f"lora.layers.{layer}.q_proj.B"] = torch.randn((4, 2), generator=generator)
        weights = make_weights_from_tensors(tensors, WeightsConfig(kind="lora", lora_rank=2))
        train = {"lora_rank": 2, "lora_alpha": 4.0}
        return save(folder, **{"prefix": Delta(weights=weights), "method": "lora", "train": train, **changes})

    return save_with
