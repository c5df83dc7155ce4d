"""Run in PrefixFleet's environment: writes random artifacts, and what its own engine answers with them.

    python own_engine.py BASE STORE prefix|lora    prints a JSON list of {sha256, tenant, length, ids, text}

The texts are greedy, in float32, from one batch of all tenants.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from components.config import BaseConfig, TrainConfig
from components.model.base.attention_sites import find_prefix_shape
from components.model.base.load import Base, load_base
from components.model.delta import make_delta_from_tensors
from components.model.prefix.initialization import make_random_prefix
from components.model.trainable_delta import TrainableDelta
from components.registry.artifact import copy_artifact, save_artifact
from components.serving.engine import BatchEngine
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.interface import ArtifactRef, GenerationRequest

TENANTS = 32
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TOKENS = 12
WORDS = ("name", "Loch Fyne", "food", "Italian", "price", "cheap", "near", "riverside", "area", "city centre")


class Store:
    """Folders named by sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        copy_artifact(self.folder / artifact.sha256, folder, artifact.sha256)
        return folder


def make_delta(base: Base, method: str, length: int, number: int) -> tuple[Any, dict[str, Any]]:
    """Return a prefix, or a LoRA with noise, as the start of training changes nothing; and its train section."""
    if method == "prefix":
        prefix = make_random_prefix(find_prefix_shape(base.model), length, number, scale=1.0)
        return prefix, {"prefix_length": length}
    values = {"method": "lora", "lora_rank": number % 8 + 1, "lora_targets": LAYERS, "seed": number}
    config = TrainConfig.model_validate(values)
    tensors = TrainableDelta(base, config, "a b c", None, ()).collapse().tensors
    generator = torch.Generator().manual_seed(number)
    noisy = {name: one + 0.1 * torch.randn(one.shape, generator=generator) for name, one in tensors.items()}
    return make_delta_from_tensors("lora", noisy, config), config.model_dump(mode="json")


def write_artifact(base: Base, store: Path, method: str, number: int) -> ArtifactRef:
    length, tenant = (1, 5, 31, 32, 33, 64)[number % 6] if method == "prefix" else 0, f"tenant-{number}"
    delta, train = make_delta(base, method, length, number)
    manifest = save_artifact(
        store / "new",
        delta,
        tenant=tenant,
        method=method,
        base_name=base.name,
        base_digest=base.digest,
        tokenizer_digest=base.tokenizer_digest,
        dataset_version="1",
        data_digest="e" * 64,
        train=train,
        fingerprint="f" * 64,
    )
    (store / "new").rename(store / manifest.sha256)
    return ArtifactRef(tenant, str(length), manifest.sha256)


async def answer(base: Base, store: Path, method: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        engine = BatchEngine(base, ArtifactCache(base, Store(store), Path(folder)))
        artifacts = [write_artifact(base, store, method, number) for number in range(TENANTS)]
        sources = [" ".join(WORDS[(number + step) % 10] for step in range(3 + number % 7)) for number in range(TENANTS)]
        pairs = list(zip(artifacts, sources, strict=True))
        streams = [
            await engine.submit([GenerationRequest(artifact=artifact, source=source, max_tokens=TOKENS)])
            for artifact, source in pairs
        ]
        texts = ["".join([piece.text async for piece in stream]) for (stream,) in streams]
        await engine.drain()
    ids = base.text_codec.encode_sources(sources)
    return [
        {
            "sha256": one.sha256,
            "tenant": one.tenant,
            "length": int(one.version),
            "ids": ids[number],
            "text": texts[number],
        }
        for number, one in enumerate(artifacts)
    ]


if __name__ == "__main__":
    loaded = load_base(BaseConfig(path=sys.argv[1], dtype="float32"), device="cpu")
    print(json.dumps(asyncio.run(answer(loaded, Path(sys.argv[2]), sys.argv[3]))))
