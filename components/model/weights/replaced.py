"""Trained copies of the base's own parameters, all of them (`full`) or the last blocks' (`top-k`), in their place.

A parameter that stands in several modules (tied embeddings) is one value, replaced everywhere. An artifact has the
base's dtype; while they are trained, values are float32 at least, and the model computes with them in its own dtype.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.model.base.blocks import last_blocks
from components.model.weights.applied import HeldWeights, placed
from components.model.weights.config import WeightsConfig

_PREFIX = "weight."


class ReplacedWeights(HeldWeights):
    """Values for the base's parameters, named `weight.<parameter name>`."""

    name = re.compile(r"weight\.\S+")

    @classmethod
    def initial(cls, model: Any, config: WeightsConfig) -> dict[str, Tensor]:
        """Copies of the base's values.

        Raises:
            BaseModelError: there are fewer blocks than `config.top_layers`.
        """
        return {_PREFIX + name: parameter.detach().clone() for name, parameter in _replaceable(model, config).items()}

    def wanted(self, model: Any) -> Mapping[str, Sequence[int]]:
        """Every parameter that the method trains."""
        return {_PREFIX + name: value.shape for name, value in _replaceable(model, self.config).items()}

    def installation(self, model: Any) -> "_Swap":
        """Swap the parameter objects of the model's modules."""
        return _Swap(model, {name.removeprefix(_PREFIX): tensor for name, tensor in self.tensors.items()})


class _Swap:
    def __init__(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        places: dict[nn.Parameter, list[tuple[dict[str, Any], str]]] = {}
        for module in model.modules():
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    places.setdefault(parameter, []).append((module._parameters, key))
        named = dict(model.named_parameters())
        self._swaps = [(tensor, named[name], places[named[name]]) for name, tensor in tensors.items()]

    def put(self) -> None:
        for tensor, original, places in self._swaps:
            own = placed(tensor, original.device, original.dtype)
            for place, key in places:
                place[key] = own

    def renew(self) -> None:
        """Cast again what has another dtype than the model."""
        self.put()

    def take(self) -> None:
        for _, original, places in self._swaps:
            for place, key in places:
                place[key] = original


def _replaceable(model: Any, config: WeightsConfig) -> dict[str, nn.Parameter]:
    trained = _trained_names(model)
    named = {name: parameter for name, parameter in model.named_parameters() if name in trained}
    if config.kind == "full":
        return named
    own = {parameter for block in last_blocks(model, config.top_layers) for parameter in block.module.parameters()}
    return {name: parameter for name, parameter in named.items() if parameter in own}


def _trained_names(model: Any) -> set[str]:
    """What the architecture trains: a frozen base does not tell its weights from constants (sinusoidal positions)."""
    with torch.device("meta"):
        fresh = type(model)(copy.deepcopy(model.config))
    return {name for name, parameter in fresh.named_parameters() if parameter.requires_grad}
