"""The requests of the serving benchmark for many tenants, and the stores of their artifacts.

Request `number` belongs to tenant `number % tenants`; texts and lengths repeat. Knows requests and artifacts; does not
know the contenders.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from components.config import BaseConfig
from components.model.base.load import Base, load_base
from components.model.delta import Delta
from components.model.prefix.prefix import Prefix
from components.registry.artifact import load_artifact, save_artifact
from components.serving.interface import ArtifactRef, GenerationRequest
from harness.workspaces import make_tenant_ids


@dataclass(frozen=True)
class RequestLoad:
    """A base, the artifacts of its tenants, and the requests for them."""

    folder: Path
    """Folder of the base."""
    dtype: str
    store: Path
    """Folder with a subfolder for each artifact, named by its digest."""
    artifacts: Sequence[ArtifactRef]
    """One for each tenant."""
    texts: Sequence[str]
    max_new_tokens: Sequence[int]
    """Maximum number of new tokens in the answer to each text."""
    rows: int
    """Number of rows that PrefixFleet computes in one step."""

    def make_request(self, number: int, tenants: int, *, is_streamed: bool = True) -> GenerationRequest:
        """Return request `number` of a load of this many tenants."""
        index = number % len(self.texts)
        return GenerationRequest(
            self.artifacts[number % tenants],
            self.texts[index],
            max_tokens=self.max_new_tokens[index],
            is_streamed=is_streamed,
        )

    def load_base(self) -> Base:
        """Load the base."""
        return load_base(BaseConfig(path=str(self.folder), dtype=self.dtype))

    def load_delta(self, base: Base, artifact: ArtifactRef) -> Delta:
        """Load a tenant's delta to the base's device."""
        delta, _ = load_artifact(self.store / artifact.sha256, base)
        return Delta(prefix=delta.prefix.to(base.model.dtype, base.device)) if delta.prefix else delta


class StoredArtifactSource:
    """Artifacts in folders named by their digest; nothing is copied."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def fetch(self, artifact: ArtifactRef, _folder: Path) -> Path:
        """See `Source.fetch`."""
        return self.store / artifact.sha256


class GeneratedArtifactSource:
    """Artifacts that are generated when they are fetched, so that thousands of them need no disk space."""

    def __init__(self, base: Base, slots: int, scratch: Path, count: int) -> None:
        """Generate every artifact once to compute its digest."""
        self._base, self._slots = base, slots
        self._numbers = {name: number for number, name in enumerate(make_tenant_ids(count))}
        self.artifacts = []
        for name in make_tenant_ids(count):
            self.artifacts.append(save_random_artifact(scratch, base, name, slots, self._numbers[name]))
            shutil.rmtree(scratch)

    def fetch(self, artifact: ArtifactRef, folder: Path) -> Path:
        """See `Source.fetch`."""
        save_random_artifact(folder, self._base, artifact.tenant, self._slots, self._numbers[artifact.tenant])
        return folder


def write_artifacts(store: Path, base: Base, tenants: Sequence[str], slots: int, seed: int = 0) -> list[ArtifactRef]:
    """Save a random prefix for each tenant in a folder named by its digest; the values depend on `seed`."""
    artifacts = []
    for number, tenant in enumerate(tenants):
        artifact = save_random_artifact(store / "new", base, tenant, slots, seed * 1_000_003 + number)
        (store / "new").rename(store / artifact.sha256)
        artifacts.append(artifact)
    return artifacts


def save_random_artifact(
    folder: Path, base: Base, tenant: str, slots: int, seed: int, scale: float = 0.5
) -> ArtifactRef:
    """Save a random prefix with keys and values of the size that GPT-2's random weights produce."""
    shape, generator = base.shape, torch.Generator().manual_seed(seed)
    size = (shape.layers, 2, shape.kv_heads, slots, shape.head_dim)
    base_fields: dict[str, Any] = {"base_name": base.name, "base_digest": base.digest}
    manifest = save_artifact(
        folder,
        Prefix.from_site(scale * torch.randn(size, generator=generator)),
        tenant=tenant,
        tokenizer_digest=base.tokenizer_digest,
        dataset_version="d" * 32,
        data_digest="e" * 64,
        train={"prefix_length": slots},
        fingerprint=f"{seed:064x}",
        **base_fields,
    )
    return ArtifactRef(tenant, str(seed), manifest.sha256)
