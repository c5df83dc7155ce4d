"""A real vLLM behind the remote engine, for tests that `make test-vllm` runs."""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from waiting import wait_until

from components.config import BaseConfig
from components.config.serve import ServeConfig, VllmConfig
from components.errors import ArtifactError
from components.model.base.load import Base
from components.registry.artifact import copy_artifact, save_artifact
from components.serving.interface import ArtifactRef, GenerationRequest
from components.serving.load_engine import load_engine
from components.serving.remote.server_client import ServerClient
from components.serving.remote.vllm_process import VllmProcess

PYTHON = os.environ.get("PREFIXFLEET_TEST_VLLM", "")
"""Of the environment with vLLM."""
OPTIONS = ["--dtype=float32", "--enforce-eager", "--max-num-seqs=64", "--gpu-memory-utilization=0.1"]
VLLM = VllmConfig(python=PYTHON, options=OPTIONS)
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="PREFIXFLEET_TEST_VLLM names no Python of an environment with vLLM"),
]


_START_S = 1500.0
"""A start takes 30 s of processor time, mostly for imports."""


@dataclass
class VllmServers:
    """Servers that start again when they end."""

    urls: Sequence[str]
    processes: Sequence[VllmProcess]

    def wait_up(self) -> None:
        """Wait until all answer."""
        wait_until(lambda: all(map(_is_up, self.urls)), "all vLLM servers", _START_S)

    def end(self, number: int, how: signal.Signals) -> None:
        """Send a signal to one server, and wait until it no longer answers."""
        process = self.processes[number]._process
        assert process is not None
        os.kill(process.pid, how)
        wait_until(lambda: not _is_up(self.urls[number]), "the end of a vLLM server")

    def list_artifacts(self, base_digest: str) -> list[set[str]]:
        """Return the sha256 of the artifacts in the memory of each server."""
        clients = [ServerClient(url, base_digest) for url in self.urls]
        return [set(client.read_status()["artifacts"]) for client in clients]


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


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
