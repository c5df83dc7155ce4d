"""A real vLLM behind the remote engine, for tests that `make test-vllm` runs."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from components.config import BaseConfig
from components.config.serve import ServeConfig
from components.errors import ArtifactError
from components.model.base.load import Base
from components.registry.artifact import copy_artifact, save_artifact
from components.serving.interface import ArtifactRef, GenerationRequest
from components.serving.load_engine import load_engine

PYTHON = os.environ.get("PREFIXFLEET_TEST_VLLM", "")
"""Of the environment with vLLM."""
OPTIONS = ["--dtype=float32", "--enforce-eager", "--max-num-seqs=64", "--gpu-memory-utilization=0.1"]
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="PREFIXFLEET_TEST_VLLM names no Python of an environment with vLLM"),
]


class ArtifactFolder:
    """Artifacts in folders named by sha256, all of one base."""

    def __init__(self, folder: Path, base: Base) -> None:
        self.folder, self.base = folder, base

    def add(self, tenant: str, delta: Any, **changes: Any) -> ArtifactRef:
        """Save a tenant's delta; `changes` are values of its manifest."""
        values: dict[str, Any] = {
            "base_name": self.base.name,
            "base_digest": self.base.digest,
            "tokenizer_digest": self.base.tokenizer_digest,
            "dataset_version": "d" * 32,
            "data_digest": "e" * 64,
            "fingerprint": "f" * 64,
        }
        manifest = save_artifact(self.folder / "new", delta, tenant=tenant, **{**values, **changes})
        (self.folder / "new").rename(self.folder / manifest.sha256)
        return ArtifactRef(tenant, "1", manifest.sha256)

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        """See `ArtifactSource.fetch`."""
        if not (self.folder / artifact.sha256).is_dir():
            raise ArtifactError("an artifact", "none", "register it")
        copy_artifact(self.folder / artifact.sha256, folder, artifact.sha256)
        return folder


async def load_with_store(
    store: ArtifactFolder, base_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, config: ServeConfig
) -> Any:
    """Load the engine of a server whose artifacts come from a folder instead of MLflow."""
    monkeypatch.setattr("components.serving.load_engine.RegistryArtifactSource", lambda _: store)
    base_config = BaseConfig(path=str(base_path), dtype="float32")
    workspace = SimpleNamespace(root=root, registry=None, base_config=base_config)
    return await asyncio.to_thread(load_engine, cast(Any, workspace), config)


async def answer(engine: Any, request: GenerationRequest) -> tuple[str, str | None, list[float | None]]:
    """Return the text of one row, why it ended, and the log probability of each token."""
    pieces = [piece async for piece in (await engine.submit([request]))[0]]
    logprobs = [token.logprob for piece in pieces for token in piece.tokens]
    return "".join(piece.text for piece in pieces), pieces[-1].finish, logprobs
