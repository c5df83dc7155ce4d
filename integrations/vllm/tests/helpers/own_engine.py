"""Run in PrefixFleet's environment: writes artifacts of random prefixes, and what its own engine answers with them.

    python own_engine.py BASE STORE    prints a JSON list of {sha256, tenant, length, ids, text}

The texts are greedy, in float32, from one batch of all tenants.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from components.config import BaseConfig
from components.model.base.attention_sites import find_prefix_shape
from components.model.base.load import Base, load_base
from components.model.prefix.initialization import make_random_prefix
from components.registry.artifact import copy_artifact, save_artifact
from components.serving.engine import BatchEngine
from components.serving.engine.artifacts.cache import ArtifactCache
from components.serving.interface import ArtifactRef, GenerationRequest

TENANTS = 32
TOKENS = 12
WORDS = ("name", "Loch Fyne", "food", "Italian", "price", "cheap", "near", "riverside", "area", "city centre")


class Store:
    """Folders named by sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        copy_artifact(self.folder / artifact.sha256, folder, artifact.sha256)
        return folder


def write_artifact(base: Base, store: Path, number: int) -> ArtifactRef:
    length, tenant = (1, 5, 31, 32, 33, 64)[number % 6], f"tenant-{number}"
    manifest = save_artifact(
        store / "new",
        make_random_prefix(find_prefix_shape(base.model), length, number, scale=1.0),
        tenant=tenant,
        base_name=base.name,
        base_digest=base.digest,
        tokenizer_digest=base.tokenizer_digest,
        dataset_version="1",
        data_digest="e" * 64,
        train={"prefix_length": length},
        fingerprint="f" * 64,
    )
    (store / "new").rename(store / manifest.sha256)
    return ArtifactRef(tenant, str(length), manifest.sha256)


async def answer(base: Base, store: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        engine = BatchEngine(base, ArtifactCache(base, Store(store), Path(folder)))
        artifacts = [write_artifact(base, store, number) for number in range(TENANTS)]
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
    loaded = load_base(BaseConfig(path=sys.argv[1]), device="cpu")
    print(json.dumps(asyncio.run(answer(loaded, Path(sys.argv[2])))))
