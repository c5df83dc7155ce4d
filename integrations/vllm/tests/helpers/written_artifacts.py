"""Writes artifacts as PrefixFleet does. The project's own tests compare this package's reader with its writer."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from tiny_models import LORA_ALPHA, Layers, Matrices

_SOME_DIGEST = "d" * 64


def write_artifact(folder: Path, layers: Layers, tenant: str, base_digest: str, **changes: Any) -> str:
    """Write a prefix into `<folder>/<sha256>/`, return the sha256. `changes` replace manifest fields in both files."""
    tensors: dict[str, torch.Tensor] = {}
    for number, (key, value) in enumerate(layers):
        tensors |= {f"decoder.self.{number}.key": key, f"decoder.self.{number}.value": value}
    return _write(folder, tensors, tenant, base_digest, {"prefix_length": layers[0][0].shape[1], **changes})


def write_lora(folder: Path, matrices: Matrices, tenant: str, base_digest: str, **changes: Any) -> str:
    """Write a LoRA artifact, as `write_artifact` does a prefix."""
    tensors = {
        f"lora.{path}.{part}": tensor
        for path, pair in matrices.items()
        for part, tensor in zip("AB", pair, strict=True)
    }
    rank = len(next(iter(matrices.values()))[0])
    train = {"method": "lora", "lora_rank": rank, "lora_alpha": LORA_ALPHA}
    return _write(folder, tensors, tenant, base_digest, {"method": "lora", "train": train, **changes})


def _write(
    folder: Path, tensors: dict[str, torch.Tensor], tenant: str, base_digest: str, changes: dict[str, Any]
) -> str:
    facts = {
        "schema_version": 2,
        "tenant": tenant,
        "base_digest": base_digest,
        "tokenizer_digest": _SOME_DIGEST,
        "prefix_length": 0,
        "method": "prefix",
        "dtype": str(next(iter(tensors.values())).dtype).removeprefix("torch."),
        "dataset_version": "1",
        "data_digest": _SOME_DIGEST,
        "train": {},
        "fingerprint": _SOME_DIGEST,
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "made_from": {},
        **changes,
    }
    content = save(tensors, {"prefixfleet": json.dumps(facts)})
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / sha256).mkdir(parents=True, exist_ok=True)
    (folder / sha256 / "prefix.safetensors").write_bytes(content)
    manifest = {**facts, "base_name": "tiny", "sha256": sha256}
    (folder / sha256 / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return sha256
