"""Writes artifacts as PrefixFleet does. The project's own tests compare this package's reader with its writer."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from tiny_models import Layers

_SOME_DIGEST = "d" * 64


def write_artifact(folder: Path, layers: Layers, tenant: str, base_digest: str, **changes: Any) -> str:
    """Write `<folder>/<sha256>/` and return the sha256. `changes` replace fields of the manifest in both files."""
    tensors: dict[str, torch.Tensor] = {}
    for number, (key, value) in enumerate(layers):
        tensors |= {f"decoder.self.{number}.key": key, f"decoder.self.{number}.value": value}
    facts = {
        "schema_version": 2,
        "tenant": tenant,
        "base_digest": base_digest,
        "tokenizer_digest": _SOME_DIGEST,
        "prefix_length": layers[0][0].shape[1],
        "method": "prefix",
        "dtype": str(layers[0][0].dtype).removeprefix("torch."),
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
