"""The tensors of a LoRA artifact: a pair of matrices for each linear layer that it changes.

Knows tensors by their names in an artifact; does not know files, nor a model.

Shapes: A [rank, inputs], B [outputs, rank].
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from prefixfleet_vllm.errors import PluginError
from prefixfleet_vllm.manifest import ARTIFACT_FIX, LoraTrain, Manifest

Matrices = dict[str, tuple[Tensor, Tensor]]
"""A and B of each layer by its path in transformers' model."""

_TENSOR_NAME = re.compile(r"lora\.(\S+)\.(A|B)")


@dataclass(frozen=True, slots=True)
class VerifiedLora:
    """The matrices, and the manifest that they agree with."""

    manifest: Manifest
    train: LoraTrain
    matrices: Matrices


def pair_matrices(tensors: Mapping[str, Tensor], rank: int, where: str) -> Matrices:
    """Return the pair of each layer; all have this rank.

    Raises:
        PluginError: a tensor is of another method, or has no partner or another rank.
    """
    matches = {name: _TENSOR_NAME.fullmatch(name) for name in tensors}
    unknown = sorted(name for name, match in matches.items() if match is None)
    paths = dict.fromkeys(match[1] for match in matches.values() if match)
    missing = [name for path in paths for name in (f"lora.{path}.A", f"lora.{path}.B") if name not in tensors]
    if unknown or missing or not paths:
        got = f"tensor {unknown[0]!r}" if unknown else f"no {missing[0]}" if missing else "no tensor"
        wanted = "tensors named lora.<layer>.A|B, two for each layer"
        raise PluginError("artifact", wanted, f"{got} in {where}", ARTIFACT_FIX)
    matrices = {path: (tensors[f"lora.{path}.A"], tensors[f"lora.{path}.B"]) for path in paths}
    for path, (a, b) in matrices.items():
        if a.dim() != 2 or b.dim() != 2 or (a.shape[0], b.shape[1]) != (rank, rank):
            wanted = f"A of [{rank}, inputs] and B of [outputs, {rank}], as train.lora_rank says"
            got = f"{tuple(a.shape)} and {tuple(b.shape)} of {path} in {where}"
            raise PluginError("artifact", wanted, got, ARTIFACT_FIX)
    return matrices
