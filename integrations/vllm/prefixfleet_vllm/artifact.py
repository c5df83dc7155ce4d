"""Reads and verifies an artifact with the checks of PrefixFleet's `load_artifact`; a test compares the refusals.

Knows the two files and the tensors' names; does not know where files come from, nor a model.

Shapes: H key/value heads, P slots, D head size.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.lora_artifact import VerifiedLora, pair_matrices
from prefixfleet_vllm.manifest import (
    ARTIFACT_FIX,
    LORA,
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    TENSORS_FILE,
    Manifest,
    parse_json,
    parse_manifest,
)

ReadFile = Callable[[str, int], bytes]
"""Returns the content of a file of the artifact, of at most so many bytes. Raises PluginError."""

_METADATA_KEY = "prefixfleet"
_NOT_IN_HEADER = frozenset({"sha256", "base_name"})
_TENSOR_NAME = re.compile(r"decoder\.self\.(0|[1-9]\d{0,3})\.(key|value)")


@dataclass(frozen=True, slots=True)
class VerifiedPrefix:
    """The keys and values of each layer in order, each [H, P, D], and the manifest that they agree with."""

    manifest: Manifest
    layers: list[tuple[Tensor, Tensor]]


Verified = VerifiedPrefix | VerifiedLora


def read_artifact(read_file: ReadFile, where: str) -> Verified:
    """Read both files and check them against each other.

    Raises:
        PluginError: a file is missing, damaged or changed, or the artifact is neither a prefix nor a LoRA.
    """
    where_manifest, where_tensors = f"{where}/{MANIFEST_FILE}", f"{where}/{TENSORS_FILE}"
    manifest = parse_manifest(read_file(MANIFEST_FILE, MAX_MANIFEST_BYTES), where_manifest)
    content = read_file(TENSORS_FILE, manifest.compute_size_limit(where_manifest))
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != manifest.sha256:
        got = f"{where_tensors}: sha256 {sha256} ({len(content)} bytes)"
        raise PluginError("artifact", f"tensors with sha256 {manifest.sha256}", got, ARTIFACT_FIX)
    manifest.check_method(where_manifest)
    try:
        tensors, header = load(content), _read_header(content)
    except (SafetensorError, ValueError) as problem:
        raise PluginError("artifact", "a valid safetensors file", f"{where_tensors}: {problem}", ARTIFACT_FIX) from None
    verified: Verified
    if manifest.method == LORA:
        train = manifest.parse_lora(where_manifest)
        verified = VerifiedLora(manifest, train, pair_matrices(tensors, train.lora_rank, where_tensors))
    else:
        verified = VerifiedPrefix(manifest, _order_layers(tensors, where_tensors))
    facts = manifest.model_dump()
    for field, value in _measure(tensors, verified, where_tensors).items():
        _require_same(field, value, facts[field], where)
    for field in Manifest.model_fields:
        if field not in _NOT_IN_HEADER:
            _require_same(field, header.get(field), facts[field], where)
    return verified


def check_wanted(
    manifest: Manifest,
    *,
    sha256: str,
    tenant: str,
    method: str,
    length: int,
    base_digests: Collection[str],
    where: str,
) -> None:
    """Check that a verified artifact is the one that a request names, and belongs to the base that is served.

    Raises:
        PluginError: it is not, or does not; the message has both sides.
    """
    for field, wanted, got in (
        ("sha256", sha256, manifest.sha256),
        ("tenant", tenant, manifest.tenant),
        ("method", method, manifest.method),
        ("prefix_length", length, manifest.prefix_length),
    ):
        if wanted != got:
            fix = "name the artifact as its manifest does, or register the tenant again"
            raise PluginError("artifact", f"an artifact with {field} {wanted}", f"{got} in {where}", fix)
    if manifest.base_digest not in base_digests:
        wanted = f"an artifact of the base that is served: digest {' or '.join(sorted(base_digests)) or 'unknown'}"
        got = f"{manifest.base_digest} ({manifest.base_name}) in {where}"
        raise PluginError("base", wanted, got, "serve that base, or train the tenant on this one")


def _order_layers(tensors: dict[str, Tensor], where: str) -> list[tuple[Tensor, Tensor]]:
    unknown = sorted(name for name in tensors if not _TENSOR_NAME.fullmatch(name))
    names = [(f"decoder.self.{layer}.key", f"decoder.self.{layer}.value") for layer in range(max(1, len(tensors) // 2))]
    missing = [name for pair in names for name in pair if name not in tensors]
    if unknown or missing or len(tensors) != 2 * len(names):
        got = (
            f"{f'tensor {unknown[0]!r}' if unknown else f'no {missing[0]}' if missing else 'an odd number'} in {where}"
        )
        raise PluginError("artifact", "tensors named decoder.self.<layer>.key|value", got, ARTIFACT_FIX)
    layers = [(tensors[key], tensors[value]) for key, value in names]
    lengths = {tensor.shape[1] if tensor.dim() == 3 else -1 for pair in layers for tensor in pair}
    if len(lengths) > 1 or -1 in lengths or any(key.shape[:2] != value.shape[:2] for key, value in layers):
        shapes = sorted({tuple(tensor.shape) for pair in layers for tensor in pair})
        wanted = "keys and values of [heads, slots, head size] with one number of slots"
        raise PluginError("artifact", wanted, f"{shapes[:4]} in {where}", ARTIFACT_FIX)
    return layers


def _measure(tensors: dict[str, Tensor], verified: Verified, where: str) -> dict[str, Any]:
    """Return the manifest's fields that follow from the tensors; refuse types and values that no artifact has."""
    for name, tensor in tensors.items():
        if not (tensor.is_floating_point() and _fits_16_bits(tensor)):
            got = f"integers, NaN or infinity in {name} ({tensor.dtype}) of {where}"
            raise PluginError(
                "artifact", "finite floating-point values, also in bfloat16", got, "train the tenant again"
            )
    dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
    if len(dtypes) != 1:
        got = f"{', '.join(sorted(dtypes))} in {where}"
        raise PluginError("artifact", "tensors of one dtype", got, ARTIFACT_FIX)
    measured = {"dtype": dtypes.pop(), "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()}}
    if isinstance(verified, VerifiedPrefix):
        return {**measured, "prefix_length": verified.layers[0][0].shape[1]}
    return {**measured, "prefix_length": 0, "parameters": sum(tensor.numel() for tensor in tensors.values())}


def _fits_16_bits(tensor: Tensor) -> bool:
    limit = torch.finfo(torch.bfloat16).max
    return not tensor.numel() or all(abs(float(end)) <= limit for end in torch.aminmax(tensor))


def _read_header(content: bytes) -> dict[str, Any]:
    """Return the manifest's fields in the safetensors header, whose length is in the first 8 bytes, little-endian."""
    size = int.from_bytes(content[:8], "little")
    metadata = parse_json(content[8 : 8 + size]).get("__metadata__") or {}
    facts = json.loads(metadata.get(_METADATA_KEY, "{}"))
    if not isinstance(facts, dict):
        raise ValueError(f"header {_METADATA_KEY!r} is a {type(facts).__name__}")
    return facts


def _require_same(field: str, in_tensors: Any, in_manifest: Any, where: str) -> None:
    if in_tensors != in_manifest:
        wanted = f"{field} {in_tensors!r} in {MANIFEST_FILE}, as in {TENSORS_FILE}"
        raise PluginError("artifact", wanted, f"{in_manifest!r} in {where}", ARTIFACT_FIX)
