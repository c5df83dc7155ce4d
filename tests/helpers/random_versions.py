"""Versions of random prefixes in a workspace's registry."""

import shutil

from components.model.prefix.initialization import make_random_prefix
from components.registry.artifact import save_artifact
from components.registry.registry import RunLog, Version
from components.stages.workspace import Workspace


def register_random(
    workspace: Workspace, tenant: str, seed: int, *aliases: str, length: int = 2, scale: float = 2.0
) -> Version:
    """Register a random prefix that fits the base, as a version that the gate accepted, and set these aliases to it."""
    base, folder = workspace.base, workspace.root / "made" / f"{tenant}-{seed}"
    save_artifact(
        folder,
        make_random_prefix(base.shape, length, seed, scale),
        tenant=tenant,
        base_name=base.name,
        base_digest=base.digest,
        tokenizer_digest=base.tokenizer_digest,
        dataset_version="d" * 32,
        data_digest="e" * 64,
        train={"prefix_length": length},
        fingerprint=f"{seed:x}".rjust(64, "0"),
    )
    version = workspace.registry.register(tenant, folder, "base", {"verdict": "accepted"}, RunLog())
    shutil.rmtree(folder)
    for alias in aliases:
        workspace.registry.set_alias(tenant, alias, version.version)
    return version
