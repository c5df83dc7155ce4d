"""Which of an artifact's heads a tensor-parallel rank holds, and whether the artifact fits the model's layers.

Pure; knows shapes. Shapes: H key/value heads, P slots, D head size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from prefixfleet_vllm.errors import PluginError

_FIX = "use the base that it was trained on"


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One attention layer of the model."""

    heads: int
    """Of the whole model, on all ranks together."""
    rank_heads: int
    """Of this rank."""
    key_size: int
    value_size: int


def slice_heads(tensor_HPD: Tensor, rank: int, ranks: int, rank_heads: int) -> Tensor:
    """Return a rank's heads [rank_heads, P, D]; with more ranks than heads, neighbouring ranks hold the same head."""
    first = rank * tensor_HPD.shape[0] // ranks
    return tensor_HPD[first : first + rank_heads]


def check_layers(layers: Sequence[tuple[Tensor, Tensor]], shapes: Sequence[LayerShape], where: str) -> None:
    """Check that a prefix, keys and values [H, P, D] of each layer, has the model's layers, heads and head sizes.

    Raises:
        PluginError: it has not; the message names the first difference.
    """
    if len(layers) != len(shapes):
        got = f"{len(layers)} layers in {where}"
        raise PluginError("base", f"a prefix of {len(shapes)} layers", got, _FIX)
    for number, ((key_HPD, value_HPD), shape) in enumerate(zip(layers, shapes, strict=True)):
        found = key_HPD.shape[0], key_HPD.shape[2], value_HPD.shape[2]
        if found != (shape.heads, shape.key_size, shape.value_size):
            wanted = f"{shape.heads} heads with keys of {shape.key_size} and values of {shape.value_size}"
            got = f"{found[0]} heads, {found[1]} and {found[2]}, in layer {number} of {where}"
            raise PluginError("base", wanted, got, _FIX)
