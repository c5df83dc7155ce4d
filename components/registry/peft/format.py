"""Converts prefixes to and from PEFT's prefix tuning: `adapter_config.json` beside `adapter_model.safetensors`.

PEFT keeps one tensor `prompt_embeddings` [P, L * 2 * H * D]; for grouped queries its `num_attention_heads` and
`token_dim` count the key/value heads. It supports only the self-attention of a decoder, with one shape in all layers.
Imports neither PEFT nor a model; does not know the base, tenants or the artifact's files.

Shapes: L layers, 2 for key and value, H key/value heads, P prefix slots, D head size.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import ArtifactError
from components.registry.peft.checkpoint import (
    CONFIG_FILE,
    PEFT_METHOD,
    PEFT_TASK,
    RESAVE_FIX,
    VALUES_TENSOR,
    WEIGHTS_FILE,
    compute_weights_sha256,
    read_metadata,
    read_peft_config,
    read_values,
)
from components.storage.atomic_files import write_atomic
from components.storage.json_text import parse_json

if TYPE_CHECKING:
    from torch import Tensor

    from components.model.prefix.prefix import Prefix

_METADATA_KEY = "prefixfleet"
_SITE = "decoder.self"
_KINDS = ("key", "value")
_KEEP_FIX = "keep this prefix in PrefixFleet"


@dataclass(frozen=True, slots=True)
class PeftPrefix:
    """A prefix from a PEFT folder, in float32 on the CPU, with the folder's information on its origin."""

    prefix: "Prefix"
    base_name: str
    """PEFT's `base_model_name_or_path`, a label and not a digest; "" if it has none."""
    facts: dict[str, str]
    """The `facts` passed to `write_peft`; empty for a folder that PEFT wrote."""
    sha256: str
    """Hex digest of the file of tensors."""


def write_peft(
    folder: Path, prefix: "Prefix", *, base_name: str, revision: str | None = None, facts: Mapping[str, str]
) -> None:
    """Write a folder for `PeftModel.from_pretrained(model, folder)`; an earlier export in it is replaced.

    `facts` are stored in the metadata of the tensors' file, which PEFT does not read.

    Raises:
        ArtifactError: PEFT's prefix tuning cannot represent the prefix, or the folder has other files.
        WorkspaceError: the disk is full.
    """
    from safetensors.torch import save

    values_PO, layers, heads = _to_peft_tensor(prefix.tensors)
    _check_export_folder(folder)
    width = values_PO.shape[1] // (2 * layers)
    config = {
        "base_model_name_or_path": base_name,
        "encoder_hidden_size": width,
        "inference_mode": True,
        "num_attention_heads": heads,
        "num_layers": layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": values_PO.shape[0],
        "peft_type": PEFT_METHOD,
        "prefix_projection": False,
        "revision": revision,
        "task_type": PEFT_TASK,
        "token_dim": width,
    }
    content = save({VALUES_TENSOR: values_PO}, {"format": "pt", _METADATA_KEY: json.dumps(dict(facts), sort_keys=True)})
    write_atomic(folder / WEIGHTS_FILE, content)
    write_atomic(folder / CONFIG_FILE, (json.dumps(config, indent=2, sort_keys=True) + "\n").encode())


def read_peft(folder: Path) -> PeftPrefix:
    """Return the prefix of a folder that PEFT or `write_peft` wrote.

    Raises:
        ArtifactError: the folder or a file is missing, the method or task is another one, the tensors are pickled,
            truncated or not finite, or do not have the config's shape.
    """
    from components.model.prefix.prefix import Prefix

    config = read_peft_config(folder)
    values_PO = read_values(folder)
    layers, heads = config.num_layers, config.num_attention_heads
    width = 2 * layers * config.token_dim
    if values_PO.shape != (config.num_virtual_tokens, width) or config.token_dim % heads:
        wanted = (
            f"{VALUES_TENSOR} [{config.num_virtual_tokens}, {width}], which follows from {CONFIG_FILE} with "
            f"{layers} layers of {heads} heads and token_dim {config.token_dim}"
        )
        raise ArtifactError(wanted, f"{list(values_PO.shape)} in {folder}", RESAVE_FIX)
    values_PL2HD = values_PO.reshape(-1, layers, 2, heads, config.token_dim // heads)
    values_L2HPD = values_PL2HD.permute(1, 2, 3, 0, 4)
    tensors = {
        name: values_L2HPD[number // 2, number % 2].contiguous()
        for number, name in enumerate(_list_tensor_names(layers))
    }
    return PeftPrefix(
        Prefix(tensors), config.base_model_name_or_path or "", _read_facts(folder), compute_weights_sha256(folder)
    )


def _list_tensor_names(layers: int) -> list[str]:
    """Return our tensor names in PEFT's order: layer by layer, key before value."""
    return [f"{_SITE}.{layer}.{kind}" for layer in range(layers) for kind in _KINDS]


def _to_peft_tensor(tensors: Mapping[str, "Tensor"]) -> tuple["Tensor", int, int]:
    """Return PEFT's tensor [P, L * 2 * H * D] of these tensors [H, P, D], and L and H."""
    import torch

    wanted = "keys and values of one shape in every layer of a decoder's self-attention (PEFT supports nothing else)"
    foreign = sorted({name.rsplit(".", 2)[0] for name in tensors} - {_SITE})
    if foreign:
        raise ArtifactError(wanted, f"values at {', '.join(foreign)}", _KEEP_FIX)
    names = _list_tensor_names(len(tensors) // 2)
    missing = [name for name in names if name not in tensors]
    shapes = {tuple(tensor.shape) for tensor in tensors.values()}
    if missing or len(shapes) != 1:
        got = f"no {missing[0]}" if missing else f"shapes {', '.join(map(str, sorted(shapes))) or 'of nothing'}"
        raise ArtifactError(wanted, got, _KEEP_FIX)
    ((heads, length, _),) = shapes
    if not length:
        raise ArtifactError(
            "a prefix with at least one slot", "a prefix of length 0", "train with a prefix_length above 0"
        )
    parts = [tensors[name].detach().cpu().transpose(0, 1).reshape(length, -1) for name in names]
    return torch.cat(parts, dim=1).contiguous(), len(names) // 2, heads


def _check_export_folder(folder: Path) -> None:
    fix = "name another folder with --out"
    if folder.exists() and not folder.is_dir():
        raise ArtifactError("a folder to export to", f"a file at {folder}", fix)
    files = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if files and (files - {CONFIG_FILE, WEIGHTS_FILE} or _METADATA_KEY not in read_metadata(folder)):
        got = f"{folder} with {', '.join(sorted(files)[:3])}"
        raise ArtifactError("an export folder that is empty or has an earlier export", got, fix)


def _read_facts(folder: Path) -> dict[str, str]:
    try:
        facts = parse_json(read_metadata(folder).get(_METADATA_KEY, "{}"))
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}
