"""What the sides of the serving benchmark are asked: requests of many tenants, and the store of their artifacts.

Request `number` is of tenant `number % tenants`; texts and lengths repeat after as many as there are. Knows requests
and artifacts; does not know who answers.
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
    """Requests, and where the artifacts are that they name."""

    folder: Path
    """Of the base."""
    dtype: str
    store: Path
    artifacts: Sequence[ArtifactRef]
    """One a tenant."""
    texts: Sequence[str]
    max_new_tokens: Sequence[int]
    """New tokens that each text's answer has, unless the base ends it before."""
    rows: int
    """Rows that PrefixFleet computes in one step."""

    def make_request(self, number: int, tenants: int) -> GenerationRequest:
        """One of the requests where there are so many tenants."""
        place = number % len(self.texts)
        return GenerationRequest(
            self.artifacts[number % tenants], self.texts[place], max_tokens=self.max_new_tokens[place]
        )

    def load_base(self) -> Base:
        """The base, loaded."""
        return load_base(BaseConfig(path=str(self.folder), dtype=self.dtype))

    def load_delta(self, base: Base, artifact: ArtifactRef) -> Delta:
        """A tenant's delta, on the base's device."""
        delta, _ = load_artifact(self.store / artifact.sha256, base)
        return Delta(prefix=delta.prefix.to(base.model.dtype, base.device)) if delta.prefix else delta


class StoredArtifactSource:
    """A source of artifacts that lie in folders named by their content; they stay there."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def fetch(self, artifact: ArtifactRef, _folder: Path) -> Path:
        """See `Source.fetch`."""
        return self.store / artifact.sha256


class GeneratedArtifactSource:
    """A source that makes artifacts when they are asked for, so that thousands need no disk."""

    def __init__(self, base: Base, slots: int, scratch: Path, count: int) -> None:
        """Make every artifact once, to know its digest."""
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
    """Save a prefix of each tenant under its digest; another `seed` makes other ones."""
    made = []
    for number, tenant in enumerate(tenants):
        artifact = save_random_artifact(store / "new", base, tenant, slots, seed * 1_000_003 + number)
        (store / "new").rename(store / artifact.sha256)
        made.append(artifact)
    return made


def save_random_artifact(
    folder: Path, base: Base, tenant: str, slots: int, seed: int, scale: float = 0.5
) -> ArtifactRef:
    """Save a tenant's prefix: keys and values as large as those of GPT-2's random weights."""
    shape, generator = base.shape, torch.Generator().manual_seed(seed)
    size = (shape.layers, 2, shape.kv_heads, slots, shape.head_dim)
    facts: dict[str, Any] = {"base_name": base.name, "base_digest": base.digest}
    manifest = save_artifact(
        folder,
        Prefix.from_site(scale * torch.randn(size, generator=generator)),
        tenant=tenant,
        tokenizer_digest=base.tokenizer_digest,
        dataset_version="d" * 32,
        data_digest="e" * 64,
        train={"prefix_length": slots},
        fingerprint=f"{seed:064x}",
        **facts,
    )
    return ArtifactRef(tenant, str(seed), manifest.sha256)
