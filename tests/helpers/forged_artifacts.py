"""Changes artifacts as an attacker would, with and without correct digests."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from components.registry.manifest import read_manifest

METHODS: dict[str, dict[str, Any]] = {
    "prefix": {"prefix_length": 3},
    "infix": {"prefix_length": 3},
    "embedding": {"prefix_length": 3},
    "full": {},
    "top-k": {"top_layers": 1},
    "adapter": {"adapter_size": 2},
    "lora": {"lora_rank": 2},
    "in-context": {"demonstrations": 1},
    "prefix+adapter": {"prefix_length": 3, "adapter_size": 2},
    "prefix+lora": {"prefix_length": 3, "lora_rank": 2},
}
PAIRS = (("ab", "it is a"), ("cd", "it is c"))


def change_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps(values))


def read_tensors(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "prefix.safetensors")


def make_unusable(tensors: dict[str, Tensor], name: str, value: Any) -> None:
    """Set one value of a tensor to a number that is not finite, or convert the tensor to another type."""
    if isinstance(value, float):
        tensors[name].view(-1)[0] = value
    else:
        tensors[name] = tensors[name].to(value)


def change_train(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the manifest's train section with these changes."""
    return {**read_manifest(folder).train, **changes}


def forge(folder: Path, tensors: dict[str, Tensor], **changes: Any) -> None:
    """Write both files with other tensors and fields, so that all digests and both copies of the fields agree."""
    fields = {**json.loads((folder / "manifest.json").read_text()), **changes}
    fields["shapes"] = {name: list(tensor.shape) for name, tensor in tensors.items()}
    header = {name: value for name, value in fields.items() if name not in ("sha256", "base_name")}
    content = save(tensors, {"prefixfleet": json.dumps(header)})
    (folder / "prefix.safetensors").write_bytes(content)
    fields["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(fields))
